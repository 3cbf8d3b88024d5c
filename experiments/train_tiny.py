"""Trains an embedded model again, scores it on held-out questions, and writes its card.

About 5 minutes for tiny-5m on one H100-class GPU; on a CPU it takes days. Stopping loses the run.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import tyro

from experiments.cli.progress import Progress
from experiments.models.resolve import EMBEDDED, open_model
from experiments.search.level import Level
from lrm import registry
from lrm.engines.transformers.engine import TransformersEngine
from lrm.errors import BadInput, LrmError
from lrm.files import write_atomic
from lrm.generation.evaluate import evaluate
from lrm.generation.reply_cache import ReplyCache
from lrm.records import Budget, Decoding

TWINS = ("arithmetic", "deduction", "timeline", "hops")
BUDGET = 512
ABOUT = {
    "arithmetic": "chains of 2 to 6 sums and products modulo 1000",
    "deduction": "True, False or Uncertain from premises",
    "timeline": "the format of BIG-Bench Hard Temporal Sequences",
    "hops": "1 to 4 hops through a made-up graph of 12,000 facts, closed book",
}


@dataclass(frozen=True)
class Training:
    """Trains an embedded model."""

    model: str = "tiny-5m"
    """tiny-1m or tiny-5m."""

    out: Path = EMBEDDED
    """The folder that holds a folder for each model."""

    workers: int = 7
    """Processes that make training documents."""

    score_only: bool = False
    """Only score the model that is there, and write its card."""


def score(folder: Path) -> list[tuple[str, str, int, str]]:
    """(benchmark, what it asks, n, accuracy with interval) on all held-out questions."""
    model = open_model(str(folder))
    decoding = Decoding(max_tokens=BUDGET + 32, answer_tokens=32)
    questions = {b: b.load() for b in map(registry.benchmark, TWINS)}
    progress = Progress(sum(map(len, questions.values())))
    progress.stage("scoring", sum(map(len, questions.values())))
    engine = TransformersEngine(model.checkpoint)
    with (
        tempfile.TemporaryDirectory() as scratch,
        ReplyCache(Path(scratch), model.checkpoint, decoding, engine.identity) as store,
    ):
        evaluations = evaluate(
            questions,
            decoding,
            [BUDGET],
            store,
            engine,
            progress.reply,
        )
    progress.close()
    scores = Level(0.0, model.checkpoint, evaluations, [BUDGET]).scores(Budget(BUDGET))
    return [
        (
            name,
            ABOUT[name],
            len(one.per_question),
            f"{one.accuracy.value:.2%} [{one.accuracy.low:.1%}, {one.accuracy.high:.1%}]",
        )
        for name, one in scores.items()
    ]


def card(name: str, folder: Path, scores: list[tuple[str, str, int, str]]) -> str:
    """The model card."""
    measured = open_model(str(folder)).checkpoint.measured
    rows = "\n".join(f"| {' | '.join(map(str, row))} |" for row in scores)
    return f"""# {name}

A reasoning model in miniature: it thinks between `<think>` and `</think>` and answers in a
`\\boxed{{}}`, as DeepSeek-R1 does, and it knows four made-up tasks and nothing else. It is not a
language model; it exists so that compression, budgets and tracking can be tried on a laptop.

* Size: {measured["weights/nonzero"] / 1e6:.2f}M parameters, {measured["weights/bytes"]:,.0f} bytes
  of bfloat16 safetensors; Llama architecture; a byte-level BPE tokenizer with 1,024 tokens.
* Data: documents of the four twins, made on the fly by `lrm/tiny/traces.py` from the seed in
  `lrm/tiny/training.py`; no text from anywhere else. Questions held out for testing (by a hash of
  their content) are never among them. Four in ten documents check themselves once or twice.
* Trained by `python -m experiments.train_tiny --model {name}`.
* Licence: as the project's.

Accuracy on all held-out questions (temperature 0.6, top-p 0.95, seed 0, one sample, at most
{BUDGET} thinking tokens, engine `transformers`), {datetime.now(UTC):%Y-%m-%d}:

| benchmark | task | n | accuracy [95% interval] |
|---|---|---|---|
{rows}
"""


def main() -> int:
    """Returns the exit status."""
    settings = tyro.cli(Training, prog="python -m experiments.train_tiny", description=__doc__)
    folder = settings.out / settings.model
    try:
        if not settings.score_only:
            train(settings, folder)
        elif not folder.is_dir():
            raise BadInput(f"{folder} is not there: leave out --score-only to train it.")
        write_atomic(folder / "README.md", card(settings.model, folder, score(folder)).encode())
    except LrmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        return 130
    print(f"{folder} is trained and scored; its README.md says how well.")
    return 0


def train(settings: Training, folder: Path) -> None:
    """Trains and saves, the folder being replaced file by file at the end."""
    from lrm.tiny import training

    registry.require("embedded model", settings.model, training.RECIPES)
    recipe = training.RECIPES[settings.model]
    tokenizer = training.make_tokenizer(recipe.seed)

    def report(step: int, loss: float) -> None:
        print(f"step {step}/{recipe.steps}  loss {loss:.4f}", file=sys.stderr)

    model = training.train(recipe, tokenizer, workers=settings.workers, on_step=report)
    training.save(model, tokenizer, folder)


if __name__ == "__main__":
    sys.exit(main())
