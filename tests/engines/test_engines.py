"""What every engine promises (lrm/contracts.py), and what the transformers engine adds."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lrm.compression.gguf.convert import write_f16
from lrm.contracts.engine import Engine, Swappable
from lrm.engines.llama_cpp.engine import LlamaCppEngine
from lrm.engines.server.engine import ServerEngine
from lrm.engines.shared.sampling import HEAD, MIDDLE, _draw_from_head, draw, uniforms
from lrm.engines.transformers.engine import TransformersEngine
from lrm.engines.transformers.slots import Slots
from lrm.engines.vllm.engine import VllmEngine
from lrm.errors import BadInput, EngineFailed
from lrm.generation import budgets
from lrm.records.model import Checkpoint
from lrm.records.reply import THINK_CLOSE, Completion, Decoding, Prompt
from tests.support.completion_server import Body, CompletionServer, Reply, completed
from tests.support.scripted_engine import ScriptedEngine

CONTEXT = 1024
GREEDY = Decoding(temperature=0, max_tokens=24, answer_tokens=1000)
SAMPLED = Decoding(temperature=1.0, top_p=0.95, max_tokens=24, answer_tokens=8)


def train_tokenizer(
    *more: str, tags: Sequence[str] = ("<think>", THINK_CLOSE)
) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        vocab_size=280,
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the answer to the question is the answer", *more], trainer)
    tokenizer.add_tokens(list(tags))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def save_random(path: Path, tokenizer: PreTrainedTokenizerFast) -> Checkpoint:
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,  # vLLM has no kernels for smaller heads
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # so that some replies end, and some close their thinking
        model.lm_head.weight[tokenizer.eos_token_id] *= 1.5
        model.lm_head.weight[tokenizer.convert_tokens_to_ids(THINK_CLOSE)] *= 1.5
    model.save_pretrained(path)
    return Checkpoint(path, revision="test")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return save_random(tmp_path_factory.mktemp("tiny-llama"), train_tokenizer())


def recite(prompt: Prompt) -> str:
    """Thinking of a length of its own, then mostly an answer; every fifth never closes."""
    size = prompt.seed * 7 % 60
    return "go on. " * size if prompt.seed % 5 == 0 else "é" * size + f"{THINK_CLOSE} answer {size}"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for one another on a busy machine would make tiny models slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


def exact_engine(checkpoint: Checkpoint) -> TransformersEngine:
    return TransformersEngine(checkpoint, slots=8, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def reciting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerEngine]:
    """A server that recites, counting in tokens that no cut divides into half a character."""
    path = tmp_path_factory.mktemp("server-tokenizer")
    tokenizer = train_tokenizer("é", "é")
    tokenizer.save_pretrained(path)

    def answer(body: Body) -> Reply:
        prompt = body["prompt"]
        script = recite(Prompt(prompt, body["seed"], body["max_tokens"]))
        if THINK_CLOSE in prompt:
            rest = script.partition(THINK_CLOSE)[2]
        else:
            prefix_ids = max(n for n in range(len(script) + 1) if prompt.endswith(script[:n]))
            rest = script[prefix_ids:]
        ids = tokenizer(rest, add_special_tokens=False)["input_ids"]
        said = ids[: body["max_tokens"]]
        stop = "stop" if said == ids else "length"
        return completed(tokenizer.decode(said), stop, len(said))

    with CompletionServer(answer, models=[{"id": "m", "max_model_len": CONTEXT}]) as server:
        yield ServerEngine(Checkpoint(path, revision="test"), url=server.url, model="m")


def vllm_engine(checkpoint: Checkpoint) -> VllmEngine:
    try:
        return VllmEngine(checkpoint, dtype=torch.float32)
    except BadInput as missing:
        pytest.skip(str(missing))


LLAMA_CPP = pytest.mark.skipif(
    not (find_spec("llama_cpp") and find_spec("gguf")),
    reason="to test the llama.cpp engine: pip install -e '.[gguf]'",
)
ENGINES = [
    "scripted",
    pytest.param("transformers", marks=pytest.mark.engine),
    pytest.param("vllm", marks=pytest.mark.engine),
    pytest.param("llama_cpp", marks=[LLAMA_CPP, pytest.mark.engine]),
]


def make(name: str, checkpoint: Checkpoint, folder: Path) -> Engine:
    if name == "scripted":
        return ScriptedEngine(recite, context=CONTEXT)
    if name == "transformers":
        return exact_engine(checkpoint)
    if name == "vllm":
        return vllm_engine(checkpoint)
    return LlamaCppEngine(write_f16(checkpoint, folder / "exact.gguf", dtype="f32"), slots=8)


@pytest.fixture(scope="module", params=[*ENGINES, "server"])
def closed_engine(
    request: pytest.FixtureRequest,
    checkpoint: Checkpoint,
    reciting: ServerEngine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Engine:
    if request.param == "server":
        return reciting
    return make(request.param, checkpoint, tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def engine(closed_engine: Engine) -> Iterator[Engine]:
    with closed_engine as made:
        yield made


@pytest.fixture(scope="module", params=ENGINES)
def long_tag(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """An engine whose closing tag is several tokens."""
    folder = tmp_path_factory.mktemp("long-tag")
    with make(request.param, save_random(folder, train_tokenizer(tags=())), folder) as made:
        yield made


@pytest.fixture(scope="module")
def real(checkpoint: Checkpoint) -> Iterator[TransformersEngine]:
    with exact_engine(checkpoint) as made:
        yield made


def mixed(count: int, max_tokens: int = 24) -> list[Prompt]:
    rng = random.Random(1)
    return [
        Prompt("question " * rng.randint(1, 12) + str(seed), seed, rng.randint(1, max_tokens))
        for seed in range(count)
    ]


def check(prompt: Prompt, completion: Completion, decoding: Decoding) -> None:
    """What holds for any completion of any engine."""
    decoded = completion.tokens - completion.given
    assert decoded <= prompt.max_tokens
    assert completion.token_ids[: len(prompt.prefix_ids)] == prompt.prefix_ids
    assert completion.thinking_tokens + completion.answer_tokens == completion.tokens
    assert completion.closed == (THINK_CLOSE in completion.text)
    capped = decoded == prompt.max_tokens or (
        completion.closed and completion.answer_tokens >= decoding.answer_tokens
    )
    assert completion.stop == "stop" or capped
    assert completion.looped <= (completion.stop == "length")


def test_ctrl_c_leaves_what_was_finished(closed_engine: Engine) -> None:
    seen: dict[int, Completion] = {}

    def stop(index: int, completion: Completion) -> None:
        seen[index] = completion
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), closed_engine as engine:
        engine.generate(mixed(30), SAMPLED, stop)
    assert len(seen) == 5
    with closed_engine as engine:
        expected = engine.generate(mixed(30), SAMPLED)
    assert all(expected[index] == completion for index, completion in seen.items())


def test_completions_come_in_order_and_keep_their_caps(engine: Engine) -> None:
    prompts = mixed(300)
    seen: dict[int, Completion] = {}

    def note(index: int, completion: Completion) -> None:
        assert index not in seen
        seen[index] = completion

    assert engine.generate(prompts, SAMPLED, note) == []
    completions = engine.generate(prompts, SAMPLED)
    assert completions == [seen[index] for index in range(300)]
    for prompt, completion in zip(prompts, completions, strict=True):
        check(prompt, completion, SAMPLED)
        assert not completion.closed or completion.answer_tokens <= SAMPLED.answer_tokens
    assert {completion.stop for completion in completions} == {"stop", "length"}
    assert {completion.closed for completion in completions} == {True, False}


def test_a_thousand_prompts(engine: Engine) -> None:
    prompts = mixed(1000, max_tokens=6)
    completions = engine.generate(prompts, SAMPLED)
    for prompt, completion in zip(prompts, completions, strict=True):
        check(prompt, completion, SAMPLED)
    assert engine.generate(prompts[500:520], SAMPLED) == completions[500:520]


def test_order_is_that_of_the_prompts(engine: Engine) -> None:
    prompts = mixed(40)
    alone = [engine.generate([prompt], SAMPLED)[0] for prompt in prompts]
    assert engine.generate(prompts, SAMPLED) == alone
    assert engine.generate(prompts[::-1], SAMPLED) == alone[::-1]


def test_the_same_call_gives_the_same_completions(engine: Engine) -> None:
    assert engine.generate(mixed(20), SAMPLED) == engine.generate(mixed(20), SAMPLED)


def test_a_smaller_cap_gives_a_prefix(engine: Engine) -> None:
    long = engine.generate([replace(prompt, max_tokens=40) for prompt in mixed(30)], SAMPLED)
    for cap in (1, 7, 39):
        short = engine.generate([replace(prompt, max_tokens=cap) for prompt in mixed(30)], SAMPLED)
        for whole, cut in zip(long, short, strict=True):
            assert cut.token_ids == whole.token_ids[: cut.tokens]
            assert cut == whole or (cut.tokens == cap and cut.stop == "length")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\0",
        "你好 🙂 ñ",
        "e\u0301\u200d👩‍👩‍👧",
        "<think>",
        "</s><s>",
        "a\n\n  b",
        "x y " * 200,
    ],
    ids=ascii,
)
def test_any_text_is_a_prompt(engine: Engine, text: str) -> None:
    prompt = Prompt(text, seed=3, max_tokens=5)
    check(prompt, engine.generate([prompt], SAMPLED)[0], SAMPLED)


def test_no_prompts_no_completions(engine: Engine) -> None:
    assert engine.generate([], SAMPLED) == []


def test_a_prompt_that_does_not_fit_is_refused_first(engine: Engine) -> None:
    calls: list[int] = []
    prompts = [Prompt("fine", 0, 4), Prompt("x y " * CONTEXT, 0, 4)]
    with pytest.raises(BadInput, match=rf"prompt 1 has \d+ tokens .* 4 more.* {CONTEXT}"):
        engine.generate(prompts, SAMPLED, lambda index, _: calls.append(index))
    assert calls == []


def test_an_exception_of_the_caller_ends_the_call(engine: Engine) -> None:
    calls: list[int] = []

    def refuse(index: int, _: Completion) -> None:
        calls.append(index)
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        engine.generate(mixed(30), SAMPLED, refuse)
    assert len(calls) == 1
    assert len(engine.generate(mixed(3), SAMPLED)) == 3


def test_tokens_are_told_while_they_are_decoded(engine: Engine) -> None:
    told: list[int] = []
    prompts = [replace(prompt, max_tokens=120) for prompt in mixed(4)]
    replies = engine.generate(prompts, SAMPLED, None, told.append)
    assert engine.generate(prompts, SAMPLED) == replies
    if engine.name not in ("transformers", "vllm", "llama_cpp"):  # replies come whole
        assert told == []
        return
    assert max(told) > 0
    assert told[-1] == 0  # none is left
    assert max(told) <= sum(reply.tokens for reply in replies) + len(replies)


def test_prompts_that_follow_a_reply_join_the_queue(engine: Engine) -> None:
    """Their replies are those that a call of their own gives, and what they need more than their
    forerunner was made room for."""
    prompts = [replace(prompt, reserved_tokens=90) for prompt in mixed(30)]
    asked: dict[int, Prompt] = dict(enumerate(prompts))
    seen: dict[int, Completion] = {}

    def follow(index: int, reply: Completion) -> list[Prompt]:
        seen[index] = reply
        if index >= len(prompts):
            return []
        further = [
            budgets.forced(prompts[index], reply, size, seed=9, answer_tokens=6, closing="s1")
            for size in (8, 4)
            if not budgets.fits(reply, size)
        ]
        asked.update(enumerate(further, len(asked)))
        return further

    engine.generate(prompts, SAMPLED, follow)
    assert len(seen) == len(asked) > len(prompts)
    assert [seen[index] for index in range(len(asked))] == [
        engine.generate([asked[index]], SAMPLED)[0] for index in range(len(asked))
    ]


def test_room_for_what_may_follow_is_asked_for_first(engine: Engine) -> None:
    prompt = replace(mixed(1)[0], reserved_tokens=CONTEXT)
    with pytest.raises(BadInput, match=rf"asks for up to {CONTEXT} more, .* lower the budgets"):
        engine.generate([prompt], SAMPLED)


def test_the_prompts_own_tokens_are_told(engine: Engine) -> None:
    prompt = mixed(1)[0]
    plain, forced = engine.generate([prompt, replace(prompt, closing=THINK_CLOSE)], SAMPLED)
    assert len(plain.prompt_ids) > 0
    assert forced.prompt_ids == plain.prompt_ids


def test_given_tokens_are_part_of_the_reply(engine: Engine) -> None:
    prompts = mixed(30, max_tokens=60)
    closing = f"\n{THINK_CLOSE}\nSo"
    for prompt, reply in zip(prompts, engine.generate(prompts, SAMPLED), strict=True):
        kept = reply.token_ids[: reply.thinking_tokens // 2]
        forced = replace(prompt, prefix_ids=kept, closing=closing, max_tokens=6)
        completion = engine.generate([forced], SAMPLED)[0]
        check(forced, completion, SAMPLED)
        assert completion.closed
        assert closing in completion.text
        assert completion.given > len(kept)
        assert completion.prompt_ids == reply.prompt_ids
        # the line break before the tag counts as thinking
        assert len(kept) < completion.thinking_tokens < completion.given


def test_a_cap_around_the_end_of_the_thinking(engine: Engine) -> None:
    """Before, at and behind the tag, and in the middle of one that is several tokens."""
    prompts = [replace(prompt, max_tokens=120) for prompt in mixed(40)]
    free = replace(SAMPLED, answer_tokens=1000)
    closed = [
        (prompt, reply)
        for prompt, reply in zip(prompts, engine.generate(prompts, free), strict=True)
        if reply.closed and reply.thinking_tokens > 1
    ]
    assert closed
    for prompt, reply in closed[:8]:
        budget = reply.thinking_tokens
        for cap in range(budget - 1, min(budget + 10, 120)):
            cut = engine.generate([replace(prompt, max_tokens=cap)], free)[0]
            check(replace(prompt, max_tokens=cap), cut, free)
            assert cut.token_ids == reply.token_ids[:cap]
            assert cut.thinking_tokens == (budget if cut.closed else cut.tokens)


def test_only_open_thinking_is_cut(engine: Engine) -> None:
    prompts = [replace(prompt, max_tokens=120) for prompt in mixed(40)]
    whole = engine.generate(prompts, SAMPLED)
    ends = {
        reply.thinking_tokens + more for reply in whole if reply.closed for more in (0, 1, 8)
    } - {0}
    for open_tokens in sorted(ends)[:6]:
        asked = [replace(prompt, open_tokens=open_tokens) for prompt in prompts]
        cut = engine.generate(asked, SAMPLED)
        assert any(one != other for one, other in zip(cut, whole, strict=True))
        for one, other in zip(cut, whole, strict=True):
            if one != other:
                assert (one.stop, one.closed) == ("length", False)
                assert one.token_ids == other.token_ids[:open_tokens]
                assert other.thinking_tokens > open_tokens - len(THINK_CLOSE)


def test_budgets_around_a_thinking_length(engine: Engine) -> None:
    prompts = [replace(prompt, max_tokens=120) for prompt in mixed(40)]
    for asked, reply in zip(prompts, engine.generate(prompts, SAMPLED), strict=True):
        length = reply.thinking_tokens
        if not reply.closed or length < 2:
            continue
        assert [budgets.fits(reply, length + more) for more in (-1, 0, 1)] == [False, True, True]
        forced = budgets.forced(asked, reply, length - 1, seed=9, answer_tokens=5, closing="plain")
        answer = engine.generate([forced], SAMPLED)[0]
        check(forced, answer, SAMPLED)
        assert answer.closed
        assert length - 1 < answer.thinking_tokens < answer.given


def test_no_thinking_is_no_thinking_tokens(engine: Engine) -> None:
    for prompt in mixed(10):
        prompt = replace(prompt, closing=THINK_CLOSE)
        completion = engine.generate([prompt], SAMPLED)[0]
        check(prompt, completion, SAMPLED)
        assert (completion.closed, completion.thinking_tokens) == (True, 0)
        assert completion.answer_tokens >= completion.given > 0


def test_a_reply_may_end_in_its_thinking(engine: Engine) -> None:
    prompts = [replace(prompt, max_tokens=400) for prompt in mixed(60)]
    ended = [
        reply
        for reply in engine.generate(prompts, SAMPLED)
        if reply.stop == "stop" and not reply.closed
    ]
    assert ended
    assert all(reply.answer_tokens == 0 for reply in ended)


def test_a_tag_of_several_tokens(long_tag: Engine) -> None:
    """Given whole, and cut in its middle: a part spoken, the rest in the text that closes."""
    text = f"so{THINK_CLOSE}"  # a token a character
    base = replace(mixed(1)[0], max_tokens=6)
    whole = long_tag.generate([replace(base, closing=text)], SAMPLED)[0]
    assert (whole.closed, whole.thinking_tokens, whole.given) == (True, 2, len(text))
    for size in range(1, len(text)):
        split = replace(base, prefix_ids=whole.token_ids[:size], closing=text[size:])
        completion = long_tag.generate([split], SAMPLED)[0]
        check(split, completion, SAMPLED)
        assert (completion.closed, completion.thinking_tokens) == (True, 2)
        assert completion.token_ids[: len(text)] == whole.token_ids[: len(text)]


def test_going_on_from_spoken_tokens_under_greedy_gives_the_same_reply(engine: Engine) -> None:
    for prompt in mixed(12):
        prompt = replace(prompt, max_tokens=24)
        whole = engine.generate([prompt], GREEDY)[0]
        half = whole.tokens // 2
        rest = replace(prompt, prefix_ids=whole.token_ids[:half], max_tokens=24 - half)
        again = engine.generate([rest], GREEDY)[0]
        assert (again.token_ids, again.text, again.stop) == (
            whole.token_ids,
            whole.text,
            whole.stop,
        )
        assert again.given == half


@pytest.mark.engine
def test_greedy_equals_generate_of_the_library(
    real: TransformersEngine, checkpoint: Checkpoint
) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint.path)
    model = LlamaForCausalLM.from_pretrained(checkpoint.path)
    prompts = [replace(prompt, max_tokens=40) for prompt in mixed(12)]
    for prompt, completion in zip(prompts, real.generate(prompts, GREEDY), strict=True):
        ids = tokenizer(prompt.text, return_tensors="pt")
        assert ids["input_ids"][0, 0] == tokenizer.bos_token_id
        out = model.generate(**ids, do_sample=False, max_new_tokens=40)[0]
        expected = out[ids["input_ids"].shape[1] :].tolist()
        ended = expected[-1] == tokenizer.eos_token_id
        assert list(completion.token_ids) == (expected[:-1] if ended else expected)
        assert completion.stop == ("stop" if ended else "length")


@pytest.mark.engine
def test_sharing_a_prefix_changes_nothing(real: TransformersEngine) -> None:
    base = replace(mixed(1)[0], max_tokens=10)
    prefix_ids = tuple(range(40, 90))
    prompts = [
        replace(base, seed=size, prefix_ids=prefix_ids[:size], closing=THINK_CLOSE * (size % 2))
        for size in (50, 0, 8, 16, 16, 24, 32, 1, 49, 50, 48, 3)
    ]
    together = real.generate(prompts, GREEDY)
    assert together == [real.generate([prompt], GREEDY)[0] for prompt in prompts]


@pytest.mark.engine
def test_stopping_early_after_the_thinking_changes_nothing(real: TransformersEngine) -> None:
    prompts = [replace(prompt, max_tokens=60) for prompt in mixed(60)]
    free = real.generate(prompts, replace(SAMPLED, answer_tokens=1000))
    for whole, cut in zip(free, real.generate(prompts, SAMPLED), strict=True):
        if whole.closed and whole.answer_tokens > SAMPLED.answer_tokens:
            assert cut.answer_tokens == SAMPLED.answer_tokens
            assert cut.stop == "length"
            assert cut.token_ids == whole.token_ids[: cut.tokens]
        else:
            assert cut == whole
    assert any(whole.answer_tokens > SAMPLED.answer_tokens for whole in free)


def test_a_reply_that_ends_exactly_at_the_answer_cap_is_not_cut(engine: Engine) -> None:
    prompts = [replace(prompt, max_tokens=120) for prompt in mixed(60)]
    free = replace(SAMPLED, answer_tokens=1000)
    ended = [
        (prompt, reply)
        for prompt, reply in zip(prompts, engine.generate(prompts, free), strict=True)
        if reply.closed and reply.stop == "stop"
    ]
    assert ended
    for prompt, reply in ended:
        exact = replace(free, answer_tokens=reply.answer_tokens)
        assert engine.generate([prompt], exact) == [reply]


@pytest.mark.engine
def test_torch_is_left_as_it_was(real: TransformersEngine) -> None:
    before = torch.get_num_threads(), torch.get_rng_state().tolist()
    modes: list[bool] = []
    real.generate(mixed(4), SAMPLED, lambda *_: modes.append(torch.is_inference_mode_enabled()))
    assert modes == [False] * 4
    assert (torch.get_num_threads(), torch.get_rng_state().tolist()) == before
    assert not torch.is_inference_mode_enabled()


@pytest.mark.engine
def test_bfloat16_repeats(checkpoint: Checkpoint) -> None:
    with TransformersEngine(checkpoint, device="cpu", dtype=torch.bfloat16) as made:
        first = made.generate(mixed(20), SAMPLED)
        for prompt, completion in zip(mixed(20), first, strict=True):
            check(prompt, completion, SAMPLED)
        assert made.generate(mixed(20), SAMPLED) == first


def test_sorting_moves_everything_of_a_row() -> None:
    config = LlamaConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=2)
    slots = Slots(config, 16, 300, torch.float32, torch.device("cpu"))
    slots.reserve(16, 300)
    lengths = [slot * 37 % 16 * 17 for slot in range(16)]
    for slot, length in enumerate(lengths):
        slots.set_length(slot, length)
        for buffer in (*slots.keys, *slots.values):
            buffer[slot] = slot
    moved = next(moved for moved in (slots.sort() for _ in range(50)) if moved)
    assert sorted(moved) == sorted(moved.values()) == list(range(16))
    assert slots.lengths == sorted(lengths, reverse=True)
    for old, new in moved.items():
        assert slots.lengths[new] == lengths[old]
        assert (slots.mask[new] == 0).sum() == max(lengths[old], 1)
        for buffer in (*slots.keys, *slots.values):
            assert (buffer[new, :, : lengths[old]] == old).all()


def test_draws_follow_the_nucleus() -> None:
    probabilities = torch.tensor([0.05, 0.5, 0.15, 0.3])
    numbers = torch.linspace(0, 1, 10_001)[:-1]
    logits = probabilities.log().expand(len(numbers), -1)
    tokens = draw(logits, numbers, temperature=1.0, top_p=0.9)
    shares = torch.bincount(tokens, minlength=4) / len(numbers)
    expected = torch.tensor([0, 0.5, 0.15, 0.3]) / 0.95
    assert torch.allclose(shares, expected, atol=1e-3)
    assert draw(logits[:1], numbers[-1:], temperature=0, top_p=0.9).tolist() == [1]


def test_a_wide_nucleus_reaches_every_token() -> None:
    numbers = torch.linspace(0, 1, 1001)[:-1]
    tokens = draw(torch.zeros(1000, 500), numbers, temperature=0.6, top_p=1.0)
    assert len(set(tokens.tolist())) == 500


@pytest.mark.parametrize("top_p", [0.5, 0.95, 1.0])
@pytest.mark.parametrize("kind", ["random", "flat", "a few hundred", "tied", "all equal", "masked"])
def test_a_wide_nucleus_gives_the_token_that_sorting_all_gives(kind: str, top_p: float) -> None:
    random_numbers = torch.Generator().manual_seed(len(kind))
    logits = torch.randn(200, 5 * MIDDLE, generator=random_numbers)
    if kind == "flat":
        logits *= 0.01
    if kind == "a few hundred":
        logits *= 0.5
        logits[:, ::16] += 12
    if kind == "tied":
        logits = (4 * logits).round() / 4
    if kind == "all equal":
        logits[:] = 1
    if kind == "masked":
        logits[:, :300] = 1 + logits[:, :300] / 9
        logits[:, 300:] = float("-inf")
    numbers = torch.rand(200, generator=random_numbers)
    scaled = logits / 0.6
    log_total = scaled.logsumexp(-1, keepdim=True)
    wide = ~_draw_from_head(scaled, log_total, numbers, top_p, HEAD)[1]
    assert wide.any()
    expected = _draw_from_head(scaled, log_total, numbers, top_p, logits.shape[-1])[0]
    assert torch.equal(draw(logits, numbers, 0.6, top_p)[wide], expected[wide])


@pytest.mark.parametrize("temperature", [0.0, 0.6])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_nothing_is_drawn_from_what_is_no_number(temperature: float, wrong: float) -> None:
    """Some token could always be: a model that overflows then says one token for ever."""
    logits = torch.zeros(3, 40)
    logits[1, 7] = wrong
    with pytest.raises(EngineFailed, match=r"arithmetic overflowed, .*; run it with another"):
        draw(logits, torch.full((3,), 0.5), temperature, top_p=0.95)
    logits[1, 7] = float("-inf")  # a token that cannot come
    assert len(draw(logits, torch.full((3,), 0.5), temperature, top_p=0.95)) == 3


def test_uniforms_of_a_smaller_count_are_a_prefix() -> None:
    assert uniforms(7, 100)[:33].tolist() == uniforms(7, 33).tolist()
    assert uniforms(8, 33).tolist() != uniforms(7, 33).tolist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config.json": None}, "config.json"),
        ({"config.json": "{"}, "config.json"),
        ({"config.json": json.dumps({"model_type": "mamba"})}, "mamba"),
        ({"model.safetensors": None}, "safetensors"),
        ({"model.safetensors": "broken"}, "cannot be loaded, save it again"),
    ],
)
def test_a_folder_that_cannot_be_run_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, change: dict[str, str | None], words: str
) -> None:
    for file in checkpoint.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name, text in change.items():
        (tmp_path / name).unlink()
        if text is not None:
            (tmp_path / name).write_text(text)
    with (
        pytest.raises(BadInput, match=words),
        TransformersEngine(Checkpoint(tmp_path, "test"), device="cpu"),
    ):
        pass


def test_a_vocabulary_that_cannot_spell_the_closing_tag_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any weights are loaded, and by every engine, as they share the codec."""
    shutil.copytree(checkpoint.path, tmp_path, dirs_exist_ok=True)
    words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "think": 2}, unk_token="<unk>"))
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", eos_token="</s>"
    ).save_pretrained(tmp_path)
    monkeypatch.setattr(
        "lrm.engines.transformers.engine.AutoModelForCausalLM.from_pretrained",
        lambda *_, **__: pytest.fail("loaded"),
    )
    with (
        pytest.raises(BadInput, match="vocabulary cannot spell </think>"),
        TransformersEngine(Checkpoint(tmp_path, "test"), device="cpu"),
    ):
        pass


def test_other_formats_and_no_slots_are_refused(checkpoint: Checkpoint) -> None:
    with (
        pytest.raises(BadInput, match="gguf"),
        TransformersEngine(replace(checkpoint, format="gguf")),
    ):
        pass
    with pytest.raises(BadInput, match="slots"):
        TransformersEngine(checkpoint, slots=0)


@pytest.mark.engine
@pytest.mark.parametrize("ending", ["<bot>\n", "<bot>\n<think>\n", "<bot>\n<think>"])
def test_a_chat_goes_into_the_models_template_with_the_thinking_opened(
    checkpoint: Checkpoint, tmp_path: Path, ending: str
) -> None:
    """Once, whether or not the template opens the thinking itself."""
    shutil.copytree(checkpoint.path, tmp_path, dirs_exist_ok=True)
    tokenizer = train_tokenizer()
    tokenizer.chat_template = (
        "{{ bos_token }}<user>{{ messages[0]['content'] }}" + "{{ " + json.dumps(ending) + " }}"
    )
    tokenizer.save_pretrained(tmp_path)
    with exact_engine(replace(checkpoint, path=tmp_path)) as made:
        plain, chat = made.generate(
            [Prompt("<user>Why?<bot>\n<think>\n", 1, 8), Prompt("Why?", 1, 8, chat=True)], SAMPLED
        )
    assert chat == plain


@pytest.mark.engine
def test_a_chat_without_a_template_is_refused(real: TransformersEngine) -> None:
    with pytest.raises(BadInput, match="has no chat template; ask on the paper track"):
        real.generate([Prompt("Why?", 0, 4, chat=True)], SAMPLED)


@pytest.mark.engine
def test_a_swap_is_a_fresh_start_on_the_other_weights(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint.path, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({k: v * 0.9 for k, v in weights.items()}, tmp_path / "model.safetensors")
    other = replace(checkpoint, path=tmp_path, revision="other")
    with exact_engine(other) as fresh:
        expected = fresh.generate(mixed(12), SAMPLED)
    with exact_engine(checkpoint) as made:
        assert isinstance(made, Swappable)
        before = made.generate(mixed(12), SAMPLED)
        made.swap(other)
        assert made.generate(mixed(12), SAMPLED) == expected != before
        made.swap(checkpoint)
        assert made.generate(mixed(12), SAMPLED) == before


@pytest.mark.engine
def test_a_swap_of_another_shape_is_refused_and_changes_nothing(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint.path, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0}))
    with exact_engine(checkpoint) as made:
        before = made.generate(mixed(4), SAMPLED)
        with pytest.raises(BadInput, match=r"their config.json differ; start another engine"):
            made.swap(replace(checkpoint, path=tmp_path))
        assert made.generate(mixed(4), SAMPLED) == before


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_too_little_memory_is_a_sentence(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("lrm.engines.transformers.engine.decode_all", fail)
    asked = [Prompt("the question", seed=1, max_tokens=4)]
    with (
        TransformersEngine(checkpoint, device="cpu") as engine,
        pytest.raises(EngineFailed, match=r"memory on cpu for 1 replies at once: lower the slots"),
    ):
        engine.generate(asked, GREEDY)


def test_weights_that_a_device_has_no_room_for_are_a_sentence(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LlamaForCausalLM, "to", fail)
    with pytest.raises(EngineFailed, match="not enough memory for the weights"):
        TransformersEngine(checkpoint, device="cpu").__enter__()
