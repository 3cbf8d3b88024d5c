"""GGUF files: the same tokens and the same probabilities as the folder they come from."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.benchmarks.deduction import DEDUCTION
from lrm.benchmarks.hops import HOPS
from lrm.benchmarks.timeline import TIMELINE
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.gguf.convert import write_f16
from lrm.compression.gguf.tokenizer import PIECES
from lrm.engines.llama_cpp.batch import InputBuffer, open_context
from lrm.engines.llama_cpp.engine import LlamaCppEngine
from lrm.engines.shared.folder_codec import FolderCodec
from lrm.errors import BadInput, MissingExtra
from lrm.records.model import Checkpoint
from lrm.tiny.tokenizer import load
from tests.support.models import SMALLEST, TINY

INSTALL = "to test GGUF files: pip install -e '.[gguf]'"
gguf = pytest.importorskip("gguf", reason=INSTALL)
pytest.importorskip("llama_cpp", reason=INSTALL)

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 1024,
    "initializer_range": 0.08,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "llama, llama3 positions": lambda: LlamaConfig(**SHAPE, rope_parameters=LLAMA3_ROPE),
    "qwen2": lambda: Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**SHAPE, head_dim=32),
}
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    " \t\n\r\u00a0\u3000\u2009\x0b\x0c\x85",
    ".,;:!?()[]{}'\"-_/\\@#$%^&*+=<>|~`",
    "éñüßøÅçž\u017f\u212a",
    "e\u0301a\u0308\u200d\ufeff\ufffd\0\x1f",
    "你好世界日本語カナ한국어",
    "مرحبا שלום हिन्दी ไทย",
    "½²٣७Ⅷ①",
    "🙂👩‍👩‍👧🇪🇺❤️",
)
WORDS = (
    "'s",
    "'LL",
    "don't",
    "<think>",
    "</think>",
    "<|end|>",
    "\r\n\r\n",
    "   ",
    "1234567",
    "</",
    ">",
)


def texts(count: int = 1000) -> list[str]:
    """Prompts of the twins, and strings of every alphabet mixed."""
    rng = random.Random(7)
    twins = (ARITHMETIC, DEDUCTION, TIMELINE, HOPS)
    asked = [question.prompt for twin in twins for question in twin.load(25)]
    return asked + [_mixture(rng) for _ in range(count - len(asked))]


def _mixture(rng: random.Random) -> str:
    parts = []
    for _ in range(rng.randint(0, 12)):
        alphabet = rng.choice(ALPHABETS)
        stretch = "".join(rng.choices(alphabet, k=rng.randint(1, 8)))
        parts.append(rng.choice((stretch, stretch, rng.choice(WORDS))))
    return "".join(parts)


def random_model(folder: Path, config: Any) -> Checkpoint:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # biases and norms are made 0 and 1, which would hide a mistake
        for tensor in model.parameters():
            if tensor.dim() == 1:
                tensor += 0.1 * torch.randn_like(tensor)
    model.save_pretrained(folder)
    load(SMALLEST).save_pretrained(folder)
    return open_checkpoint(folder)


def logits_of(file: Checkpoint, ids: list[int]) -> torch.Tensor:
    """llama.cpp's next-token logits after each token of `ids`, [tokens, vocabulary]."""
    with LlamaCppEngine(file) as engine:
        lib, size = engine._lib, engine._vocab.size
        with open_context(lib, engine._model, 1, len(ids), 1) as context:
            buffer, rows = InputBuffer(lib, context, 1), []
            for position, token in enumerate(ids):
                buffer.decode([(token, position, 0)], logits=True)
                pointer = lib.llama_get_logits(context)
                rows.append(np.ctypeslib.as_array(pointer, (size,)).copy())
    return torch.from_numpy(np.stack(rows))


def divergence(folder: Checkpoint, file: Checkpoint) -> float:
    """Mean next-token KL, in nats, of the file from the folder in float32."""
    tokenizer = AutoTokenizer.from_pretrained(folder.path)
    ids = tokenizer("\n".join(texts(100)[i] for i in (0, 25, 50, 75)))["input_ids"][:400]
    model = AutoModelForCausalLM.from_pretrained(folder.path, dtype=torch.float32)
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    found = logits_of(file, ids).double().log_softmax(-1)
    return float((expected.exp() * (expected - found)).sum(-1).mean())


@pytest.mark.parametrize("source", [SMALLEST, TINY], ids=lambda path: path.name)
def test_the_embedded_models_say_the_same(source: Path, tmp_path: Path) -> None:
    folder = open_checkpoint(source)
    assert divergence(folder, write_f16(folder, tmp_path / "model.gguf")) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "most"), [("f16", 1e-5), ("f32", 1e-9)])
def test_every_family_says_the_same(family: str, dtype: Any, most: float, tmp_path: Path) -> None:
    folder = random_model(tmp_path / "model", FAMILIES[family]())
    assert divergence(folder, write_f16(folder, tmp_path / "model.gguf", dtype)) < most


def trained(rule: str, whole: bool) -> PreTrainedTokenizerFast:
    """A tokenizer that cuts text by a rule of `PIECES`."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule == "gpt-2")
    split = [] if rule == "gpt-2" else [pre_tokenizers.Split(Regex(rule), "isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, level]) if split else level
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1020,
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(600), trainer)
    tokenizer.add_tokens(["<think>", "</think>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>"
    )


@pytest.mark.parametrize("rule", [None, *PIECES], ids=lambda rule: PIECES.get(rule, "embedded"))
def test_token_ids_are_those_of_the_folder(rule: tuple[str, bool] | None, tmp_path: Path) -> None:
    folder = random_model(tmp_path / "model", FAMILIES["llama"]())
    if rule:
        trained(*rule).save_pretrained(folder.path)
    tokenizer = AutoTokenizer.from_pretrained(folder.path)
    with LlamaCppEngine(write_f16(folder, tmp_path / "model.gguf")) as engine:
        for text in texts():
            ids = tokenizer(text)["input_ids"]
            assert engine._vocab.encode(text, add_special=True) == ids, ascii(text)
            assert engine._vocab.decode(ids) == tokenizer.decode(ids), ascii(text)


def test_every_token_that_ends_a_reply_does_so_in_a_file(tmp_path: Path) -> None:
    """Also one that the config alone names."""
    folder = random_model(tmp_path / "model", FAMILIES["llama"]())
    change_config(folder.path, eos_token_id=[1, 5])
    (folder.path / "generation_config.json").write_text('{"eos_token_id": [1, 6]}')
    with LlamaCppEngine(write_f16(folder, tmp_path / "model.gguf")) as engine:
        assert engine._codec.eos == {1, 5, 6} == FolderCodec(folder).eos


def test_a_file_tells_what_it_is(tmp_path: Path) -> None:
    folder = replace(open_checkpoint(SMALLEST), lineage=("sparsegpt",))
    file = write_f16(folder, tmp_path / "deep" / "model.gguf")
    again = write_f16(folder, tmp_path / "again.gguf")
    assert file.format == "gguf"
    assert file.lineage == ("sparsegpt", "gguf:f16")
    assert file.revision == again.revision != folder.revision
    assert file.measured["weights/bytes"] == file.path.stat().st_size
    assert 16 <= file.measured["bits_per_weight"] < 16.1
    exact = write_f16(folder, tmp_path / "exact.gguf", dtype="f32")
    assert exact.measured["bits_per_weight"] == 32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.gguf", "deep", "exact.gguf"]


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_tokenizer(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "tokenizer.json"
    spec = json.loads(path.read_text())
    change(spec)
    path.write_text(json.dumps(spec))


def too_large(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e5
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def unknown_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"extra": torch.ones(2)}, folder / "model.safetensors")


def few_embeddings(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in tensors:
            tensors[name] = tensors[name][:1000].contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    change_config(folder, vocab_size=1000)


YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}
BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "family": (lambda path: change_config(path, model_type="gemma"), "of type gemma"),
    "positions": (lambda path: change_config(path, rope_parameters=YARN), "positions by 'yarn'"),
    "activation": (
        lambda path: change_config(path, hidden_act="gelu"),
        "hidden_act of .* is 'gelu', and llama.cpp runs a llama model with 'silu' alone",
    ),
    "ends": (
        lambda path: change_config(path, eos_token_id=[1, 2, 5, 6]),
        "has 4 tokens that end a reply .* room for 3; run it with",
    ),
    "config": (lambda path: (path / "config.json").unlink(), "config.json"),
    "overflow": (too_large, "up_proj.* float16 cannot hold"),
    "tensor": (unknown_tensor, "no place for, extra"),
    "few embeddings": (few_embeddings, "has no embedding for, .* has 1000 embeddings"),
    "no tokenizer": (lambda path: (path / "tokenizer.json").write_text("{"), "tokenizer.json"),
    "unigram": (
        lambda path: change_tokenizer(path, lambda spec: spec["model"].update(byte_fallback=True)),
        "not byte-level BPE",
    ),
    "rule": (
        lambda path: change_tokenizer(
            path,
            lambda spec: spec["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": "a+"}),
        ),
        "no known name",
    ),
    "normalizer": (
        lambda path: change_tokenizer(path, lambda spec: spec.update(normalizer={"type": "NFD"})),
        "no known name",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_cannot_be_converted_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    folder = random_model(tmp_path / "model", FAMILIES["llama"]())
    change, words = BREAKS[name]
    change(folder.path)
    with pytest.raises(BadInput, match=words):
        write_f16(folder, tmp_path / "out" / "model.gguf")
    assert not list((tmp_path / "out").glob("*"))


def test_a_file_is_neither_converted_nor_overwritten(tmp_path: Path) -> None:
    folder, out = open_checkpoint(SMALLEST), tmp_path / "model.gguf"
    with pytest.raises(BadInput, match="GGUF file already"):
        write_f16(replace(folder, format="gguf"), out)
    with pytest.raises(BadInput, match="stored as awq; only dense weights become GGUF"):
        write_f16(replace(folder, format="awq"), out)
    out.write_bytes(b"mine")
    with pytest.raises(BadInput, match="exists already"):
        write_f16(folder, out)
    with pytest.raises(BadInput, match="cannot be written"):
        write_f16(folder, out / "below")
    assert out.read_bytes() == b"mine"


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtra, match=r"pip install 'lrm\[gguf\]'"):
        write_f16(open_checkpoint(SMALLEST), tmp_path / "model.gguf")
