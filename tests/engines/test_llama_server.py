"""The server engine against llama.cpp's own server (llama-cpp-python's module), for real."""

from __future__ import annotations

import importlib
import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lrm import registry
from lrm.engines.server.address import KEY_VARIABLE
from lrm.engines.server.engine import ServerEngine
from lrm.engines.transformers.engine import TransformersEngine
from lrm.errors import BadInput
from lrm.generation import budgets
from lrm.records.model import Checkpoint
from lrm.records.reply import THINK_CLOSE, Completion, Decoding, Prompt
from lrm.tiny import tokenizer as tiny_tokenizer
from tests.support.models import SMALLEST

pytestmark = pytest.mark.engine

CHECKPOINT = Checkpoint(SMALLEST, revision="test")
CONTEXT = 1024
KEY = "a-key-for-this-test"
GREEDY = Decoding(temperature=0, max_tokens=400, answer_tokens=32)
SAMPLED = Decoding(temperature=1.5, top_p=1.0, max_tokens=60, answer_tokens=32)
NEEDED = {
    "llama_cpp": "pip install 'llama-cpp-python[server]==0.3.36'",
    "starlette_context": "pip install 'llama-cpp-python[server]==0.3.36'",
    "lrm.compression.gguf.convert": "a version of lrm that writes GGUF files",
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerEngine]:
    for module, remedy in NEEDED.items():
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"NOT TESTED with llama.cpp's server: {module} is missing; {remedy}")
    folder = tmp_path_factory.mktemp("llama-server")
    model = folder / "tiny.gguf"
    importlib.import_module("lrm.compression.gguf.convert").write_f16(CHECKPOINT, model, "f32")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model)]
    command += ["--model_alias", "tiny", "--n_ctx", str(CONTEXT), "--n_threads", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--api_key", KEY]
    log = folder / "log"
    with (
        pytest.MonkeyPatch.context() as patch,
        log.open("w") as file,
        subprocess.Popen(command, stdout=file, stderr=file) as process,
    ):
        patch.setenv(KEY_VARIABLE, KEY)
        try:
            wait_for(port, process, log)
            with ServerEngine(CHECKPOINT, url=f"http://127.0.0.1:{port}", model="tiny") as made:
                yield made
        finally:
            process.kill()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)


def by_transformers(prompts: list[Prompt]) -> list[Completion]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # more would wait for one another on a busy machine
    try:
        with TransformersEngine(CHECKPOINT, device="cpu", dtype=torch.float32) as engine:
            return engine.generate(prompts, GREEDY)
    finally:
        torch.set_num_threads(before)


def text_keeps_ids(prompt: Prompt) -> bool:
    """Whether the given text, as the server reads it, has the token ids that it was given as."""
    tokenizer = tiny_tokenizer.load(SMALLEST)
    close = tokenizer(prompt.closing, add_special_tokens=False)["input_ids"]
    whole = tokenizer(
        tokenizer.decode(prompt.prefix_ids) + prompt.closing, add_special_tokens=False
    )
    return bool(whole["input_ids"] == [*prompt.prefix_ids, *close])


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    """Two questions of each twin."""
    names = ("arithmetic", "deduction", "timeline", "hops")
    questions = [q for name in names for q in registry.benchmark(name).load(2)]
    return [Prompt(question.prompt, seed, 400) for seed, question in enumerate(questions)]


@pytest.fixture(scope="module")
def replies(engine: ServerEngine, prompts: list[Prompt]) -> list[Completion]:
    return engine.generate(prompts, GREEDY)


def test_greedy_says_what_the_transformers_engine_says(
    replies: list[Completion], prompts: list[Prompt]
) -> None:
    assert [replace(reply, reported_tokens=None) for reply in replies] == by_transformers(prompts)
    assert [reply.stop for reply in replies] == ["stop"] * 8
    assert all(reply.closed for reply in replies)


def test_reported_counts_are_the_recounted_ones(replies: list[Completion]) -> None:
    assert [reply.reported_tokens for reply in replies] == [reply.tokens for reply in replies]


def test_seeds_repeat_and_differ(engine: ServerEngine, prompts: list[Prompt]) -> None:
    asked = [replace(prompts[0], seed=seed << 40 | seed, max_tokens=60) for seed in range(8)]
    first = engine.generate(asked, SAMPLED)
    assert engine.generate(asked[::-1], SAMPLED) == first[::-1]
    assert len({reply.text for reply in first}) > 1


def test_a_cap_cuts_and_says_so(
    engine: ServerEngine, prompts: list[Prompt], replies: list[Completion]
) -> None:
    short = engine.generate([replace(prompt, max_tokens=7) for prompt in prompts], GREEDY)
    for cut, whole in zip(short, replies, strict=True):
        assert (cut.stop, cut.tokens, cut.reported_tokens) == ("length", 7, 7)
        assert cut.token_ids == whole.token_ids[:7]


def test_an_answer_is_forced_at_a_budget(
    engine: ServerEngine, prompts: list[Prompt], replies: list[Completion]
) -> None:
    """Which is also what the transformers engine answers when it is forced there, unless a token
    runs over the seam between what was spoken and what closes it."""
    asked = [
        budgets.forced(prompt, reply, 12, seed=1, answer_tokens=32, closing="plain")
        for prompt, reply in zip(prompts, replies, strict=True)
        if not budgets.fits(reply, 12)
    ]
    forced = engine.generate(asked, GREEDY)
    assert len(forced) > 4
    for prompt, reply in zip(asked, forced, strict=True):
        assert reply.closed
        assert reply.token_ids[:12] == prompt.prefix_ids
        assert reply.answer_tokens <= GREEDY.answer_tokens
        assert reply.text.partition(THINK_CLOSE)[2].strip()
        if reply.stop == "stop":
            assert reply.reported_tokens == reply.tokens - reply.given
    same = [text_keeps_ids(prompt) for prompt in asked]
    assert sum(same) > 2
    for reply, expected, comparable in zip(forced, by_transformers(asked), same, strict=True):
        assert replace(reply, reported_tokens=None) == expected or not comparable


def test_the_context_is_kept(engine: ServerEngine) -> None:
    with pytest.raises(BadInput, match=rf"refuses prompt 0 .*{CONTEXT}.* shorten the prompt"):
        engine.generate([Prompt("one " * 2 * CONTEXT, 0, 8)], GREEDY)
    with pytest.raises(BadInput, match=r"cut the reply to prompt 0 after \d+ of 200 tokens"):
        engine.generate([Prompt("one " * 507, 0, 200)], GREEDY)


def test_a_wrong_key_and_a_wrong_model_are_told(
    engine: ServerEngine, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = engine.identity.split()[1]
    with pytest.raises(BadInput, match="it serves tiny"):
        ServerEngine(CHECKPOINT, url=url, model="other").__enter__()
    monkeypatch.setenv(KEY_VARIABLE, "wrong")
    with pytest.raises(BadInput, match=f"does not accept the key in {KEY_VARIABLE}"):
        ServerEngine(CHECKPOINT, url=url, model="tiny").__enter__()
