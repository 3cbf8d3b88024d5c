"""The flags of a search, as one typed object.

tyro makes the command line from these dataclasses, and their docstrings are its help. The object
that the code passes around is therefore the whole interface, and the two cannot drift apart.
(typer would need every flag a second time, in a function's signature.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from lrm import registry
from lrm.errors import BadInput
from lrm.generation.budgets import CLOSINGS, ENGINE
from lrm.records.question import Track
from lrm.records.reply import TEMPERATURE, TOP_P

RECOMMENDED = "model"
"""In place of a number: what the model's generation_config.json recommends."""

MOST_LEVELS = 200
"""Of a range; more are most likely a mistyped step."""

T = TypeVar("T")


def parse_sparsity(text: str) -> tuple[float, ...]:
    """A list "0,0.5,0.6" or a range "0:0.8:0.1" (LOW:HIGH[:STEP], step 0.05 if left out)."""
    try:
        if ":" in text:
            low, high, step = ([float(part) for part in text.split(":")] + [0.05])[:3]
            if not (step > 0 and 0 <= low <= high and (high - low) / step < MOST_LEVELS):
                raise BadInput(
                    f"--sparsity {text} is no range: write LOW:HIGH:STEP with 0 <= LOW <= HIGH < 1 "
                    f"and fewer than {MOST_LEVELS} steps, for example 0:0.8:0.1."
                )
            count = int((high - low) / step + 1e-9) + 1
            levels = [round(low + i * step, 6) for i in range(count)]
        else:
            levels = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise BadInput(
            f"--sparsity {text} is neither a list like 0,0.5,0.6 nor a range like 0:0.8:0.1."
        ) from error
    for level in levels:
        if not 0 <= level < 1:
            raise BadInput(f"--sparsity {level:g} is outside [0, 1): 0 is dense, 0.5 is half.")
    return tuple(sorted(set(levels)))


def parse_budgets(text: str) -> tuple[int, ...]:
    """A list of thinking tokens: "64,128,256"."""
    try:
        budgets = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise BadInput(
            f"--budgets {text or 'with nothing'} is no list of whole numbers: write 64,128,256."
        ) from error
    for budget in budgets:
        if budget < 1:
            raise BadInput(
                f"--budgets {budget} is no budget: a budget is 1 thinking token or more."
            )
    return tuple(sorted(set(budgets)))


def parse_benchmarks(text: str) -> tuple[str, ...]:
    """Names and files of questions, comma-separated; each is opened, so that what is wrong with a
    file is said at once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    opened = [registry.benchmark(name).name for name in names]
    for name in opened:
        if opened.count(name) > 1:
            raise BadInput(f"--benchmarks {text} has two of the name {name}: rename a file.")
    return names


def parse_gpus(text: str) -> tuple[str, ...]:
    """One word for each worker, with the numbers of its GPUs: "0,1" or "0+1,2+3"."""
    words = tuple(text.split(","))
    numbers = [number for word in words for number in word.split("+")]
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise BadInput(
            f"--gpus {text or 'with nothing'} names no GPUs: write 0,1,2,3 for a worker on each, "
            "or 0+1,2+3 for workers on two."
        )
    if len(set(map(int, numbers))) < len(numbers):
        raise BadInput(f"--gpus {text} names a GPU twice: give each to one worker.")
    return words


def listed(
    parse: Callable[[str], tuple[T, ...]], metavar: str
) -> tyro.constructors.PrimitiveConstructorSpec[tuple[T, ...]]:
    """Tells tyro to read a tuple from one comma-separated word, and to show it as one."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(f"{part}" for part in value)],
    )


@dataclass(frozen=True)
class SearchSettings:
    """The flags of every search over compression x output-length budget."""

    model: str = "tiny-5m"
    """Embedded model (tiny-1m, tiny-5m), local folder, GGUF file, or hub id, with :WORD for one of
    several GGUF models (unsloth/DeepSeek-R1-GGUF:UD-IQ1_S). With the server engine, the folder or
    hub id of the tokenizer."""

    benchmarks: Annotated[tuple[str, ...], listed(parse_benchmarks, "NAME,...")] = (
        "arithmetic",
        "deduction",
        "timeline",
        "hops",
    )
    """Benchmarks to ask: any of aime, aime-2025, math-500, gpqa-diamond, folio, temporal, musique,
    musique-open (with paragraphs), musique-dev, musique-dev-open, the synthetic arithmetic,
    deduction, timeline, hops, those of other packages, and files of your own questions
    (FILE.jsonl)."""

    track: Track = "paper"
    """paper: the paper's exact prompts. chat: the same questions in the model's chat template."""

    system: str | None = None
    """What the system says in the chat template, before the question; "" is a message without
    text. If left out, there is none, or the template's own."""

    temperature: float | Literal["model"] = TEMPERATURE
    """Of sampling; 0 always takes the likeliest token. model: as the model's generation_config.json
    recommends."""

    top_p: float | Literal["model"] = TOP_P
    """Share of the probability that tokens are sampled from, the likeliest first. model: as the
    model's generation_config.json recommends."""

    answer_tokens: int | None = None
    """Most tokens of an answer, after the thinking. If left out: 32 for the embedded models; 1024,
    or a quarter of what the model reads if it reads fewer than 2048."""

    budgets: Annotated[tuple[int, ...], listed(parse_budgets, "TOKENS,...")] = (
        16,
        32,
        48,
        64,
        96,
        128,
        192,
        384,
    )
    """Output-length budgets, in thinking tokens."""

    questions: int = 50
    """Questions per benchmark."""

    samples: int = 1
    """Replies per question."""

    first: str | None = None
    """A pruning method and its sparsity, applied to the model first; the search then compresses the
    pruned model: sparsegpt@0.5, or sparsegpt:calibration=text@0.5."""

    windows: int | None = None
    """Windows of 2,048 tokens of WikiText-2, and of C4, on which the perplexity of a real model is
    measured; 0 for none. If left out: all of them on a GPU, 4 on a CPU."""

    trials: int | None = None
    """How many levels of compression to measure in this study; each gives a point for every budget.
    All levels if left out."""

    engine: str = "transformers"
    """What runs the model, with options if any: transformers:slots=32."""

    closing: str = "plain"
    """Text that ends the thinking at a budget: plain, s1 or qwen3; or engine, for vLLM's own
    thinking budget."""

    study: str | None = None
    """Name of the study to start or continue. If left out, the same flags continue the same one."""

    storage: str | None = None
    """Database in which Optuna keeps the study: postgresql+psycopg://... for workers on several
    machines. mlruns/optuna.db if left out."""

    folder: Path | None = None
    """Folder for replies, checkpoints and leases, shared by all workers of a study. mlruns if left
    out."""

    checkpoints: Path | None = None
    """Folder for compressed checkpoints: /dev/shm/lrm keeps them in memory, off the disk.
    checkpoints/ in the folder above if left out."""

    workers: int = 1
    """Processes on this machine that share the study."""

    gpus: Annotated[tuple[str, ...], listed(parse_gpus, "GPU,...")] = ()
    """GPUs to start a worker on: 0,1,2,3 for one each, or 0+1,2+3 for two each."""

    heartbeat: float = 30.0
    """Seconds without a sign of life after which a worker on another machine counts as dead; the
    same for all workers of a study."""

    tracking_uri: str | None = None
    """MLflow tracking server or database. mlruns/mlflow.db if left out."""

    team: str | None = None
    """Team to tag every run with. The environment variable LRM_TEAM if left out."""

    note: str | None = None
    """What the study is for, shown with it in MLflow. A new note replaces the old one."""

    seed: int = 0
    """Seed of calibration, sampling and search."""

    def __post_init__(self) -> None:
        engine = registry.engine(self.engine.partition(":")[0])
        registry.require("closing", self.closing, (*CLOSINGS, ENGINE))
        if self.closing == ENGINE and not engine.ends_thinking:
            able = [name for name in registry.ENGINES if registry.engine(name).ends_thinking]
            raise BadInput(
                f"--closing {ENGINE} is for engines that end the thinking themselves, and "
                f"{engine.name} does not: give --engine {' or '.join(able)}, or --closing plain."
            )
        for name in ("questions", "samples", "trials", "workers", "answer_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                flag = name.replace("_", "-")
                raise BadInput(f"--{flag} {value} is too few: give 1 or more.")
        if self.windows is not None and self.windows < 0:
            raise BadInput(f"--windows {self.windows} is negative: give 0 for none, or more.")
        self._check_sampling()
        if self.seed < 0:
            raise BadInput(f"--seed {self.seed} is negative: give 0 or more.")
        if not 1 <= self.heartbeat <= 3600:
            raise BadInput(
                f"--heartbeat {self.heartbeat:g} is no time to wait for a sign of life: give 1 to "
                "3600 seconds."
            )
        if self.gpus and self.workers > 1:
            raise BadInput("--workers and --gpus exclude each other: --gpus starts one per GPU.")

    def _check_sampling(self) -> None:
        if self.temperature != RECOMMENDED and not 0 <= float(self.temperature) < math.inf:
            raise BadInput(
                f"--temperature {self.temperature} is none: give 0, which always takes the "
                "likeliest token, or more; 0.6 is usual."
            )
        if self.top_p != RECOMMENDED and not 0 < float(self.top_p) <= 1:
            raise BadInput(
                f"--top-p {self.top_p} is no share: give more than 0 and at most 1; 0.95 is usual."
            )
        if self.system is not None and self.track != "chat":
            raise BadInput(
                "--system is part of a chat template, which the paper's prompts are not put into: "
                "give --track chat, or leave it out."
            )


@dataclass(frozen=True)
class Settings(SearchSettings):
    """One search over sparsity x output-length budget."""

    sparsity: Annotated[tuple[float, ...], listed(parse_sparsity, "LOW:HIGH:STEP|LEVEL,...")] = (
        0.0,
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
    )
    """Sparsity levels to search: a range or a list, in [0, 1)."""

    method: str = "sparsegpt"
    """Compression method, with options if any: sparsegpt:calibration=text,damping=0.02."""

    def __post_init__(self) -> None:
        super().__post_init__()
        engine = registry.engine(self.engine.partition(":")[0])
        if "tokenizer" in engine.formats and any(self.sparsity):
            raise BadInput(
                f"--engine {engine.name} runs a model that is elsewhere, whatever is pruned here: "
                "give --sparsity 0."
            )
        registry.require("method", self.method.partition(":")[0], registry.PRUNERS)
