"""What the llama.cpp engine adds to the suite of all engines, and the files it refuses."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lrm.benchmarks.timeline import TIMELINE
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.gguf.convert import write_f16
from lrm.compression.gguf.files import open_gguf
from lrm.engines.llama_cpp.engine import LlamaCppEngine
from lrm.engines.transformers.engine import TransformersEngine
from lrm.errors import BadInput, MissingExtra
from lrm.records.model import Checkpoint
from lrm.records.reply import Decoding, Prompt
from lrm.tiny.tokenizer import load
from tests.support.models import SMALLEST, rewritten

pytestmark = pytest.mark.engine

INSTALL = "to test the llama.cpp engine: pip install -e '.[gguf]'"
gguf = pytest.importorskip("gguf", reason=INSTALL)
pytest.importorskip("llama_cpp", reason=INSTALL)

GREEDY = Decoding(temperature=0, max_tokens=60, answer_tokens=32)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_f16(open_checkpoint(SMALLEST), tmp_path_factory.mktemp("f16") / "model.gguf")


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    out = tmp_path_factory.mktemp("f32") / "model.gguf"
    return write_f16(open_checkpoint(SMALLEST), out, dtype="f32")


@pytest.fixture(scope="module")
def engine(exact: Checkpoint) -> Iterator[LlamaCppEngine]:
    with LlamaCppEngine(exact, slots=5) as made:
        yield made


def asked(count: int, max_tokens: int = 60) -> list[Prompt]:
    questions = TIMELINE.load(count)
    return [Prompt(question.prompt, seed, max_tokens) for seed, question in enumerate(questions)]


def test_greedy_replies_are_those_of_the_transformers_engine(engine: LlamaCppEngine) -> None:
    import torch

    with TransformersEngine(open_checkpoint(SMALLEST), device="cpu", dtype=torch.float32) as other:
        assert engine.generate(asked(12), GREEDY) == other.generate(asked(12), GREEDY)


QUIET = """
import os, signal, sys, threading, time
from pathlib import Path
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.gguf.method import GGUF
from lrm.engines.llama_cpp.engine import LlamaCppEngine
from lrm.records.reply import Decoding, Prompt

out = Path(sys.argv[2])

def interrupt():
    while not list(out.parent.glob(".gguf.*/*/model.gguf")):  # llama.cpp has begun to write
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

made = GGUF("Q8_0").apply(open_checkpoint(Path(sys.argv[1])), out)
with LlamaCppEngine(made) as engine:
    print(engine.generate([Prompt("1 + 1", 0, 8)], Decoding(max_tokens=8))[0].tokens)
out = out.with_name("again")
try:
    threading.Thread(target=interrupt, daemon=True).start()
    GGUF("Q8_0").apply(open_checkpoint(Path(sys.argv[1])), out)
except KeyboardInterrupt:
    print("interrupted")
if sys.argv[3:]:
    engine = LlamaCppEngine(made).__enter__()  # never left
    sys.exit(3)
"""


@pytest.mark.parametrize("never_left", [[], ["never left"]])
def test_nothing_is_printed_at_exit(tmp_path: Path, never_left: list[str]) -> None:
    """Nor where Ctrl-C comes while llama.cpp calls back, which is not lost."""
    command = [sys.executable, "-c", QUIET, str(SMALLEST), str(tmp_path / "made"), *never_left]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    assert ran.stdout.split() == ["8", "interrupted"]
    assert ran.returncode == (3 if never_left else 0)


def test_forced_answers_share_their_prompt_and_change_nothing(engine: LlamaCppEngine) -> None:
    """More of them than slots, of two questions, in an order that is not theirs."""
    replies = engine.generate(asked(2), GREEDY)
    forced = [
        replace(
            prompt,
            prefix_ids=reply.token_ids[:size],
            closing="\n</think>\n\n" * (size % 2),
            max_tokens=8,
        )
        for size in (50, 3, 20, 20, 45, 0, 7, 31)
        for prompt, reply in zip(asked(2), replies, strict=True)
    ]
    alone = [engine.generate([prompt], GREEDY)[0] for prompt in forced]
    assert engine.generate(forced, GREEDY) == alone


def test_a_prompt_longer_than_one_call_takes(file: Checkpoint, tmp_path: Path) -> None:
    """The context is made long, so the model says nothing of sense, but the same each time."""
    source = tmp_path / "long"
    source.mkdir()
    for path in SMALLEST.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8192}))
    long = write_f16(open_checkpoint(source), tmp_path / "long.gguf", dtype="f32")
    prompts = [Prompt("1 and 2 " * size, 0, 6) for size in (1200, 3, 700)]
    with LlamaCppEngine(long) as made:
        together = made.generate(prompts, GREEDY)
        assert max(len(reply.prompt_ids) for reply in together) > 4096
        assert together == [made.generate([prompt], GREEDY)[0] for prompt in prompts]


def test_the_f16_file_answers_as_well(file: Checkpoint) -> None:
    questions = TIMELINE.load(20)
    prompts = [Prompt(question.prompt, 0, 416) for question in questions]
    with LlamaCppEngine(file) as made:
        replies = made.generate(prompts, replace(GREEDY, max_tokens=416))
        assert replies == made.generate(prompts, replace(GREEDY, max_tokens=416))
    scores = [
        TIMELINE.grade(question, reply).score
        for question, reply in zip(questions, replies, strict=True)
    ]
    assert sum(scores) >= 16


def test_a_file_that_ends_every_text_ends_no_prompt(tmp_path: Path, file: Checkpoint) -> None:
    """add_eos_token, as in files of models that read whole texts."""
    path = rewritten(file.path, tmp_path / "ends" / "model.gguf", add_eos_token=True)
    prompts = [Prompt(question.prompt, 0, 32) for question in TIMELINE.load(2)]
    with LlamaCppEngine(open_gguf(path)) as made, LlamaCppEngine(file) as plain:
        text = prompts[0].text
        assert made._vocab.encode(text, add_special=True)[-1] in made._vocab.eos_ids()
        assert made.generate(prompts, GREEDY) == plain.generate(prompts, GREEDY)


@pytest.mark.parametrize("ending", ["<bot>\n", "<bot>\n<think>\n", "<bot>\n<think>"])
def test_a_chat_goes_into_the_files_template_with_the_thinking_opened(
    tmp_path: Path, ending: str
) -> None:
    source = tmp_path / "chat"
    source.mkdir()
    for path in SMALLEST.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    tokenizer = load(SMALLEST)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}\n<{{ message.role }}>{{ message.content }}"
        "{% endfor %}{% if add_generation_prompt %}{{ " + json.dumps(ending) + " }}{% endif %}"
    )
    tokenizer.save_pretrained(source)
    folder = open_checkpoint(source)
    chat, told = Prompt("Why?", 1, 8, chat=True), Prompt("<user>Why?<bot>\n<think>\n", 1, 8)
    with LlamaCppEngine(write_f16(folder, tmp_path / "chat.gguf", dtype="f32")) as made:
        reply, plain = made.generate([chat, told], GREEDY)
    with TransformersEngine(folder, device="cpu") as other:
        assert reply.prompt_ids == other.generate([chat], GREEDY)[0].prompt_ids
    assert reply == plain


def test_a_template_that_fails_is_told(tmp_path: Path) -> None:
    source = tmp_path / "chat"
    source.mkdir()
    for path in SMALLEST.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    tokenizer = load(SMALLEST)
    tokenizer.chat_template = "{{ raise_exception('only in pairs') }}"
    tokenizer.save_pretrained(source)
    file = write_f16(open_checkpoint(source), tmp_path / "chat.gguf")
    with LlamaCppEngine(file) as made, pytest.raises(BadInput, match=r"only in pairs.*paper track"):
        made.generate([Prompt("Why?", 0, 4, chat=True)], GREEDY)


def test_a_chat_without_a_template_is_refused(engine: LlamaCppEngine) -> None:
    with pytest.raises(BadInput, match="has no chat template; ask on the paper track"):
        engine.generate([Prompt("Why?", 0, 4, chat=True)], GREEDY)


def test_a_smaller_context_is_kept_to(exact: Checkpoint) -> None:
    with LlamaCppEngine(exact, context=100) as made:
        prompt = Prompt("1 + 1", 0, 10)
        assert len(made.generate([prompt], GREEDY)) == 1
        with pytest.raises(BadInput, match=r"prompt 0 has \d+ tokens .* 99 more.* 100"):
            made.generate([replace(prompt, max_tokens=99)], GREEDY)


def refused(checkpoint: Checkpoint) -> str:
    with pytest.raises(BadInput) as caught, LlamaCppEngine(checkpoint):
        pass
    return str(caught.value)


@pytest.mark.parametrize("share", [0.0005, 0.005, 0.5, 0.999])
def test_a_file_cut_short_is_refused(file: Checkpoint, tmp_path: Path, share: float) -> None:
    data = file.path.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(data[: int(len(data) * share)])
    assert str(path) in refused(Checkpoint(path, "cut", "gguf"))


def test_files_that_cannot_be_run_are_refused(file: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    made = Checkpoint(path, "test", "gguf")
    assert "cannot be read (No such file" in refused(made)
    path.write_bytes(b"GGML and so on")
    assert "is no GGUF file" in refused(made)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    assert "cannot be loaded (" in refused(made)
    writer = gguf.GGUFWriter(path, "mambo")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    assert "unknown model architecture: 'mambo'" in refused(made)
    assert "write_f16" in refused(open_checkpoint(SMALLEST))


def test_layers_on_a_gpu_are_refused_without_one(
    file: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llama_cpp

    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: False)
    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", lambda *_: pytest.fail("loaded"))
    with (
        pytest.raises(BadInput, match=r"gpu_layers is -1, .* no GPU .* leave gpu_layers out"),
        LlamaCppEngine(file, gpu_layers=-1),
    ):
        pass


def test_options_out_of_range_are_refused(file: Checkpoint) -> None:
    for option in ("slots", "context", "threads"):
        with pytest.raises(BadInput, match=f"{option} must be 1 or more, got 0"):
            LlamaCppEngine(file, **{option: 0})
    with (
        pytest.raises(BadInput, match="context 4096 is more than the 2048"),
        LlamaCppEngine(file, context=4096),
    ):
        pass


def test_a_missing_package_is_named(file: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(MissingExtra, match=r"pip install 'lrm\[gguf\]'"), LlamaCppEngine(file):
        pass


def test_nothing_is_printed(file: Checkpoint, capfd: pytest.CaptureFixture[str]) -> None:
    with LlamaCppEngine(file) as made:
        made.generate(asked(2, 4), GREEDY)
    assert capfd.readouterr() == ("", "")


def test_the_device_is_part_of_the_identity(file: Checkpoint) -> None:
    assert LlamaCppEngine(file).identity == "llama_cpp"
    assert LlamaCppEngine(file, gpu_layers=-1).identity == "llama_cpp gpu"
