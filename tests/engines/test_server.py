"""The server engine against a real server on this machine that fails to order."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from experiments.cli.engine_choice import EngineChoice
from experiments.models.conversion import made
from experiments.models.hub import find_repository
from lrm.benchmarks.hub import download_rows
from lrm.benchmarks.source import Source
from lrm.engines.server import endpoint
from lrm.engines.server.address import KEY_VARIABLE
from lrm.engines.server.background import in_background
from lrm.engines.server.endpoint import Endpoint
from lrm.engines.server.engine import NEUTRAL_SAMPLING, SEEDS, ServerEngine
from lrm.errors import BadInput, LrmError, ServerFailed
from lrm.records.model import Checkpoint
from lrm.records.reply import THINK_CLOSE, Completion, Decoding, Prompt
from lrm.tiny import tokenizer as tiny_tokenizer
from tests.support.completion_server import (
    DROP,
    HANG,
    Body,
    CompletionServer,
    Reply,
    completed,
    refusal,
)
from tests.support.models import SMALLEST

CHECKPOINT = Checkpoint(SMALLEST, revision="test")
GREEDY = Decoding(temperature=0, max_tokens=64, answer_tokens=32)
SECRET = "sk-0123456789-secret"
TOKENIZER = tiny_tokenizer.load(SMALLEST)


def count(text: str) -> int:
    return len(TOKENIZER(text, add_special_tokens=False)["input_ids"])


def echo(body: Body) -> Reply:
    """A whole reply that names its seed."""
    text = f"thinking about {body['seed']}{THINK_CLOSE} Answer: {body['seed']}"
    return completed(text, "stop", count(text))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the tester's, no proxy between here and here, and no long waits."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.01)


@pytest.fixture
def server() -> Iterator[CompletionServer]:
    with CompletionServer(echo) as made:
        yield made


def connect(server: CompletionServer, checkpoint: Checkpoint = CHECKPOINT, **how: Any) -> Any:
    return ServerEngine(checkpoint, url=server.url, model="m", **how)


def prompts(size: int) -> list[Prompt]:
    return [Prompt(f"question {seed}", seed, 64) for seed in range(size)]


def test_what_is_asked_and_what_comes_back(server: CompletionServer) -> None:
    decoding = Decoding(temperature=0.6, top_p=0.9, max_tokens=64)
    seed = (1 << 62) + 5
    with connect(server) as engine:
        (reply,) = engine.generate([Prompt("Why?", seed, 40)], decoding)
    assert server.bodies == [
        {
            "model": "m",
            "prompt": "Why?",
            "max_tokens": 40,
            "temperature": 0.6,
            "top_p": 0.9,
            "seed": seed % SEEDS,
            **NEUTRAL_SAMPLING,
        }
    ]
    text = f"thinking about {seed % SEEDS}{THINK_CLOSE} Answer: {seed % SEEDS}"
    assert reply == Completion(
        token_ids=tuple(TOKENIZER(text, add_special_tokens=False)["input_ids"]),
        text=text,
        prompt_ids=tuple(TOKENIZER("Why?")["input_ids"]),
        thinking_tokens=count(text.partition(THINK_CLOSE)[0]),
        answer_tokens=count(THINK_CLOSE + text.partition(THINK_CLOSE)[2]),
        closed=True,
        stop="stop",
        looped=False,
        reported_tokens=count(text),
    )


def test_completions_are_in_order_whatever_the_order_of_the_answers(
    server: CompletionServer,
) -> None:
    def late_if_even(body: Body) -> Reply:
        time.sleep(0.02 * (body["seed"] % 2 == 0))
        return echo(body)

    server.answer = late_if_even
    seen: dict[int, Completion] = {}
    with connect(server) as engine:
        replies = engine.generate(prompts(40), GREEDY)
        assert engine.generate(prompts(40), GREEDY, seen.__setitem__) == []
    assert list(seen) != list(range(40))
    assert replies == [seen[index] for index in range(40)]
    assert [f"Answer: {seed}" in reply.text for seed, reply in enumerate(replies)] == [True] * 40


@pytest.mark.parametrize(
    "failure",
    [
        refusal(500, "broken"),
        refusal(503, "loading"),
        refusal(408, "late"),
        refusal(409, "busy"),
        refusal(429, "slow down", Retry_After="0"),
        DROP,
        Reply(text="<html>not JSON"),
        Reply({"choices": []}),
        completed("cut by the server", stop="abort"),
        Reply(text='{"choices": [{"text": "half \\ud800", "finish_reason": "stop"}]}'),
    ],
    ids=lambda reply: f"{reply.status} {reply.text or reply.found}"[:40],
)
def test_what_may_pass_is_tried_again(server: CompletionServer, failure: Reply) -> None:
    server.upcoming.extend([failure] * 2)
    with connect(server, retries=2, concurrency=1) as engine:
        replies = engine.generate(prompts(2), GREEDY)
    assert [reply.text for reply in replies] == [
        echo({"seed": s}).found["choices"][0]["text"] for s in (0, 1)
    ]
    assert [body["seed"] for body in server.bodies] == [0, 0, 0, 1]


def test_a_slow_reply_is_tried_again(server: CompletionServer) -> None:
    server.upcoming.append(HANG)
    with connect(server, timeout=3.0) as engine:
        assert engine.generate(prompts(1), GREEDY)[0].stop == "stop"
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (refusal(500, "Broken."), r"status 500: Broken\)"),
        (DROP, "disconnected"),
        (HANG, "no answer within 2 s: raise timeout or lower concurrency"),
        (Reply(text="<html>\n  no JSON"), "not a completion: <html> no JSON"),
    ],
)
def test_a_server_that_fails_in_the_end_raises_and_what_was_finished_is_kept(
    server: CompletionServer, failure: Reply, words: str
) -> None:
    server.answer = lambda body: echo(body) if body["seed"] < 2 else failure
    seen: list[int] = []
    limit = 2 if failure is HANG else 60
    with (
        connect(server, retries=1, concurrency=1, timeout=limit) as engine,
        pytest.raises(ServerFailed, match="did not complete prompt 2, tried 2 times") as raised,
    ):
        engine.generate(prompts(9), GREEDY, lambda index, _: seen.append(index))
    raised.match(words)
    assert seen == [0, 1]
    assert [body["seed"] for body in server.bodies[:4]] == [0, 1, 2, 2]
    assert len(server.bodies) < 9


def test_retry_after_is_honoured_and_a_wait_beyond_the_timeout_is_a_failure(
    server: CompletionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(endpoint.asyncio, "sleep", note)
    server.upcoming.extend([refusal(429, "later", Retry_After="7"), refusal(503, "no")])
    with connect(server, concurrency=1) as engine:
        engine.generate(prompts(1), GREEDY)
    assert waits[0] == 7.0
    assert waits[1] < 0.1
    server.upcoming.append(refusal(429, "later", Retry_After="3600"))
    with connect(server) as engine, pytest.raises(ServerFailed, match="asks to wait 3600 s"):
        engine.generate(prompts(1), GREEDY)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("12", 12, 12),
        (timedelta(hours=1), 3000, 3600),
        (timedelta(hours=-1), 0, 0),
        ("soon", 0, 0),
        ("", 0, 0),
    ],
)
def test_retry_after_in_all_its_forms(value: str | timedelta, low: float, high: float) -> None:
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    assert low <= endpoint._retry_after({"Retry-After": value}) <= high


def test_waits_double_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.5)
    for tried in range(40):
        whole = min(0.5 * 2**tried, endpoint.LONGEST_WAIT)
        assert whole / 2 <= endpoint._back_off(tried) <= whole


@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt(), ValueError("enough")], ids=["Ctrl-C", "ValueError"]
)
def test_an_exception_of_the_caller_cancels_the_rest_and_keeps_what_was_finished(
    server: CompletionServer, raised: BaseException
) -> None:
    """The hanging requests would hold the call for an hour if they were not cancelled."""
    server.answer = lambda body: echo(body) if body["seed"] < 3 else HANG
    kept: dict[int, Completion] = {}

    def keep(index: int, reply: Completion) -> None:
        kept[index] = reply
        if len(kept) == 3:
            raise raised

    with (
        connect(server, timeout=3600, concurrency=4) as engine,
        pytest.raises(type(raised)),
    ):
        engine.generate(prompts(50), GREEDY, keep)
    assert set(kept) == {0, 1, 2}
    assert len(server.bodies) < 10


def test_it_runs_inside_an_event_loop(server: CompletionServer) -> None:
    async def cell_of_a_notebook() -> list[Completion]:
        with connect(server) as engine:
            return engine.generate(prompts(3), GREEDY)

    assert len(asyncio.run(cell_of_a_notebook())) == 3


def test_the_background_raises_what_its_work_raises() -> None:
    async def work(put: Callable[[int], None]) -> None:
        put(1)
        raise KeyError("work")

    with closing(in_background(work)) as items:
        assert next(items) == 1
        with pytest.raises(KeyError, match="work"):
            next(items)


def test_stop_is_length_exactly_when_cut(server: CompletionServer) -> None:
    text = "one two three four five six"
    long = f"so{THINK_CLOSE}" + " and so on" * 40
    server.upcoming.extend(
        [
            completed(text, "length", 64),
            completed(text, "stop", count(text)),
            completed(long, "stop", count(long)),
            completed("x y z " * 40, "stop", 64),
        ]
    )
    with connect(server, concurrency=1) as engine:
        cut, ended, answer, recounted = engine.generate(prompts(4), GREEDY)
    assert (cut.stop, cut.text) == ("length", text)
    assert (ended.stop, ended.text) == ("stop", text)
    assert (answer.stop, answer.answer_tokens) == ("length", GREEDY.answer_tokens)
    assert answer.reported_tokens == count(long) > answer.tokens
    assert (recounted.stop, recounted.tokens, recounted.reported_tokens) == ("length", 64, 64)


def test_missing_usage_is_not_made_up(server: CompletionServer) -> None:
    server.answer = lambda _: completed("well", "length")
    with connect(server) as engine:
        (reply,) = engine.generate(prompts(1), GREEDY)
    assert reply.reported_tokens is None
    assert reply.tokens == count("well")


def test_a_forced_answer_goes_on_from_the_given_text_and_asks_for_the_answer_only(
    server: CompletionServer,
) -> None:
    server.answer = lambda body: completed("42", "stop", 2)
    prefix_ids = tuple(TOKENIZER("First, 6 times 7", add_special_tokens=False)["input_ids"])
    closing_text = f"\n{THINK_CLOSE}\n\n"
    prompt = Prompt("Why?", 1, 500, prefix_ids, closing_text)
    with connect(server) as engine:
        (reply,) = engine.generate([prompt], GREEDY)
        engine.generate([replace(prompt, max_tokens=3)], GREEDY)
    assert server.bodies[0]["prompt"] == f"Why?First, 6 times 7{closing_text}"
    assert reply.text == f"First, 6 times 7{closing_text}42"
    assert reply.token_ids[: len(prefix_ids)] == prefix_ids
    assert reply.given == len(prefix_ids) + count(closing_text)
    tag_and_breaks = reply.answer_tokens - 2
    assert server.bodies[0]["max_tokens"] == GREEDY.answer_tokens + 1 - tag_and_breaks
    assert server.bodies[1]["max_tokens"] == 3


def chatty(folder: Path, template: str) -> Checkpoint:
    shutil.copytree(SMALLEST, folder, dirs_exist_ok=True)
    tokenizer = tiny_tokenizer.load(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return replace(CHECKPOINT, path=folder)


@pytest.mark.parametrize("start", ["", "{{ bos_token }}"])
@pytest.mark.parametrize("ending", ["<bot>\n", "<bot>\n<think>\n"])
def test_a_chat_is_rendered_here_with_the_thinking_opened_once(
    server: CompletionServer, tmp_path: Path, start: str, ending: str
) -> None:
    """And without the token that the server puts in front of every prompt."""
    template = f"{start}<user>{{{{ messages[0]['content'] }}}}{{{{ {json.dumps(ending)} }}}}"
    with connect(server, chatty(tmp_path, template)) as engine:
        (reply,) = engine.generate([Prompt("Why?", 1, 8, chat=True)], GREEDY)
    assert server.bodies[0]["prompt"] == "<user>Why?<bot>\n<think>\n"
    assert len(reply.prompt_ids) == 1 + count("<user>Why?<bot>\n<think>\n")


def test_a_chat_without_a_template_is_refused(server: CompletionServer) -> None:
    with connect(server) as engine, pytest.raises(BadInput, match="has no chat template"):
        engine.generate([Prompt("Why?", 0, 4, chat=True)], GREEDY)


def test_a_prompt_beyond_the_context_is_refused_with_its_numbers(server: CompletionServer) -> None:
    words = "This model's maximum context length is 8 tokens. However, you requested 70 tokens."
    server.answer = lambda _: refusal(400, words)
    with (
        connect(server) as engine,
        pytest.raises(BadInput, match=r"refuses prompt 0 \(status 400: .* 8 .* 70 .* shorten the"),
    ):
        engine.generate(prompts(1), GREEDY)
    assert len(server.bodies) == 1


def test_where_the_context_is_told_nothing_is_sent_that_does_not_fit() -> None:
    with (
        CompletionServer(echo, models=[{"id": "m", "max_model_len": 50}]) as server,
        connect(server) as engine,
        pytest.raises(
            BadInput, match=r"prompt 1 has 4 tokens and asks for up to 60 more.* 50 tokens"
        ),
    ):
        engine.generate([Prompt("a", 0, 10), Prompt("1 2", 0, 60)], GREEDY)
    assert server.bodies == []


def test_a_reply_that_the_context_cut_is_not_taken_for_one_that_its_cap_cut(
    server: CompletionServer,
) -> None:
    server.answer = lambda _: completed("so I", "length", 2)
    with connect(server) as engine, pytest.raises(BadInput, match="after 2 of 64 tokens"):
        engine.generate(prompts(1), GREEDY)


@pytest.mark.parametrize(
    ("said", "length"),
    [("50", 50), (" 50 ", 50), (50.0, 50), ("", None), (0, None), (-1, None), (True, None)],
)
def test_a_context_length_may_be_text(said: object, length: int | None) -> None:
    with CompletionServer(echo, models=[{"id": "m", "max_model_len": said}]) as server:
        assert Endpoint(server.url, 5.0, 0).models() == {"m": length}


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ALL_PROXY", "gopher://127.0.0.1:9", r"proxy .*\(Unknown scheme.*; correct or unset"),
        ("ALL_PROXY", "socks5://127.0.0.1:9", r"proxy .*cannot be used \(.*; correct or unset"),
        ("HTTPS_PROXY", "http://[::1", r"proxy .*cannot be used \(Invalid port.*correct or unset"),
        ("SSL_CERT_FILE", "/none", r"SSL_CERT_FILE names cannot be read \(.*correct or unset"),
    ],
)
def test_what_the_environment_says_of_the_network_is_checked_before_every_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "socksio", None)  # as without the package that speaks it
    file = Source("f", "test", url="https://example.invalid/f.jsonl")
    rows = Source("f", "test", hub="nobody/nothing", revision="0" * 40)
    requests: list[Callable[[], object]] = [
        lambda: Endpoint("http://127.0.0.1:9", 5.0, 0).models(),
        lambda: find_repository("nobody/nothing"),
        lambda: download_rows(file),
        lambda: download_rows(rows),
    ]
    for request in requests:
        with pytest.raises(BadInput, match=words):
            request()


@pytest.mark.parametrize(
    "url", ["a..b:1", f"{'a' * 64}:1", "\u200b.x:1", "h:1/\x01", "h/" + "a" * 70_000]
)
def test_an_address_that_no_request_can_have_is_none(url: str) -> None:
    with pytest.raises(BadInput, match=r"is not an address; give one such as"):
        Endpoint(f"http://{url}", 5.0, 0)


def test_json_that_is_nested_too_deeply_is_none(server: CompletionServer) -> None:
    server.models = Reply(text="[" * 200_000)
    with pytest.raises(BadInput, match="names no models"):
        Endpoint(server.url, 5.0, 0).models()


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (refusal(404, "model gone"), "status 404: model gone"),
        (Reply({"object": "error", "message": "bad top_p"}, 400), "status 400: bad top_p"),
        (Reply({"detail": [{"msg": "unknown field"}]}, 422), "status 422: .*unknown field"),
        (Reply({"error": "no such thing"}, 400), "status 400: no such thing"),
        (Reply(text="x" * 5000, status=400), r"status 400: x{300}\.\.\.\)"),
        (Reply([1], 400), r"status 400: \[1\]"),
    ],
)
def test_what_cannot_pass_raises_at_once_in_the_servers_words(
    server: CompletionServer, refused: Reply, words: str
) -> None:
    server.answer = lambda _: refused
    with connect(server) as engine, pytest.raises(BadInput, match=words):
        engine.generate(prompts(1), GREEDY)
    assert len(server.bodies) == 1


def test_the_key_opens_the_server_and_is_never_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(KEY_VARIABLE, f" {SECRET}\n")
    with CompletionServer(echo, key=SECRET) as server:
        engine = connect(server, retries=0)
        told = [repr(engine), engine.identity]
        with engine:
            engine.generate(prompts(2), GREEDY)
            for status in (400, 500, 401):
                server.upcoming.append(refusal(status, "x" * 295 + SECRET))
                with pytest.raises(LrmError) as raised:
                    engine.generate(prompts(1), GREEDY)
                told.append(str(raised.value))
            server.upcoming.append(Reply(text=f"<html>{SECRET}"))
            with pytest.raises(ServerFailed) as failed:
                engine.generate(prompts(1), GREEDY)
            told.append(str(failed.value))
        monkeypatch.setenv(KEY_VARIABLE, "sk-wrong")
        with pytest.raises(BadInput, match=f"does not accept the key in {KEY_VARIABLE}") as wrong:
            connect(server).__enter__()
        monkeypatch.delenv(KEY_VARIABLE)
        with pytest.raises(BadInput, match=f"not in {KEY_VARIABLE} .*set that variable") as absent:
            connect(server).__enter__()
    told += [str(wrong.value), str(absent.value), caplog.text]
    assert not [text for text in told if SECRET[:8] in text or "sk-wrong" in text]
    assert "[key]" in told[-4]


def test_a_key_with_a_line_break_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, f"{SECRET}\nX: y")
    with pytest.raises(BadInput, match=KEY_VARIABLE) as raised:
        Endpoint("http://127.0.0.1:1", 1, 1)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["http://me:pass@host:8000", "http://host/v1?key=pass", "http://host#pass", "pass", "", "ftp://pass",
     "http://host:99999999/pass", "http://[pass"],
)  # fmt: skip
def test_a_url_that_is_none_or_holds_a_secret_is_refused_unseen(url: str) -> None:
    with pytest.raises(BadInput, match="the url of the server") as raised:
        ServerEngine(CHECKPOINT, url=url, model="m")
    assert "pass@" not in str(raised.value)
    assert "=pass" not in str(raised.value)


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_the_identity_is_the_servers_and_the_models_and_the_tokenizers(
    tmp_path: Path, ending: str
) -> None:
    def identity(**how: Any) -> str:
        given = {"url": f"http://HOST:8000{ending}", "model": "m", **how}
        return ServerEngine(CHECKPOINT, **given).identity

    assert identity().startswith("server http://host:8000 m tokenizer ")
    assert identity() == identity(concurrency=1, timeout=1, retries=0)
    others = [
        identity(),
        identity(model="n"),
        identity(url="http://host:8001"),
        identity(tokenizer=chatty(tmp_path, "other").path),
    ]
    assert len(set(others)) == 4


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_greetings_that_fail_name_the_remedy(server: CompletionServer) -> None:
    def greeted(url: str, model: str = "m") -> str:
        with pytest.raises(LrmError) as raised:
            ServerEngine(CHECKPOINT, url=url, model=model).__enter__()
        return str(raised.value)

    told = greeted(f"http://127.0.0.1:{closed_port()}")
    assert "no server answers at http://127.0.0.1:" in told
    assert "start it, or correct the address" in told
    assert "give the address that stands before /v1" in greeted(f"{server.url}/chat")
    server.models = Reply({"data": [{"id": "a"}, {"id": "b"}]})
    assert "has no model 'm'; it serves a, b" in greeted(server.url)
    server.models = refusal(503, "Loading model")
    assert "is not ready (status 503: Loading model); wait" in greeted(server.url)
    server.models = Reply(text="hello")
    assert "names no models (status 200)" in greeted(server.url)


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    known: dict[str, Any] = {"url": "http://host", "model": "m"}
    for wrong in ({"concurrency": 0}, {"timeout": 0}, {"retries": -1}):
        with pytest.raises(BadInput, match="concurrency must be 1 or more"):
            ServerEngine(CHECKPOINT, **known, **wrong)
    with pytest.raises(BadInput, match="name the tokenizer that counts"):
        ServerEngine(replace(CHECKPOINT, format="gguf"), **known)
    shutil.copytree(SMALLEST, tmp_path, dirs_exist_ok=True)
    for text in ("{", '{"version": 1}', "{}"):
        (tmp_path / "tokenizer.json").write_text(text)
        choice = EngineChoice("server", ServerEngine, {**known, "tokenizer": str(tmp_path)})
        with pytest.raises(BadInput, match=r"is no tokenizer \(.*fetch it again"):
            made(choice, CHECKPOINT)


def test_a_closing_tag_that_servers_would_leave_out_is_refused(
    server: CompletionServer, tmp_path: Path
) -> None:
    tokenizer = tiny_tokenizer.load(SMALLEST)
    tokenizer.add_special_tokens({"additional_special_tokens": [THINK_CLOSE]})
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="has </think> as a special token"):
        connect(server, tokenizer=tmp_path).__enter__()
