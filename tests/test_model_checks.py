"""What a folder must hold before anything is made of it: config, weights and tokenizer agree."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from experiments.models.resolve import find_model, open_model
from experiments.sparsity_search import main
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.config_fields import check_fields
from lrm.engines.transformers.engine import TransformersEngine
from lrm.errors import BadInput, DamagedModel
from lrm.expected_weights import expected_shapes
from lrm.model_sizes import FAMILIES
from lrm.records.model import Checkpoint
from tests.support.commands import refused
from tests.support.models import copied

Tensors = dict[str, torch.Tensor]
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
NORM, MATRIX = "model.layers.1.input_layernorm.weight", "model.layers.1.mlp.up_proj.weight"


def changed(folder: Path, change: Callable[[Tensors], object], **config: object) -> Path:
    """A copy of tiny-1m whose weights and config are changed."""
    copied(folder, **config)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def filled(name: str, value: float) -> Callable[[Tensors], object]:
    """One value of a weight is another."""
    return lambda weights: weights[name].view(-1)[7].fill_(value)


def without(*names: str) -> Callable[[Tensors], object]:
    return lambda weights: [weights.pop(name) for name in names]


def same(_: Tensors) -> None:
    """Nothing is changed."""


WRONG: dict[str, tuple[Callable[[Tensors], object], dict[str, object], str]] = {
    "no head": (same, {"tie_word_embeddings": False}, f"no weight {HEAD}; .*set tie_word_emb"),
    "no matrix": (without(MATRIX), {}, f"no weight {MATRIX}; save"),
    "no norm": (without(NORM), {}, f"no weight {NORM}; save"),
    "no two": (without(MATRIX, NORM), {}, r"\(2 weights are missing\)"),
    "fewer layers in the files": (same, {"num_hidden_layers": 5}, "weights of 4 layers, and .* 5;"),
    "more layers in the files": (same, {"num_hidden_layers": 3}, "weights of 4 layers, and .* 3;"),
    "a strange weight": (
        lambda weights: weights.update({"score.weight": torch.ones(2, 128)}),
        {},
        r"a weight that its config\.json has no place for, score\.weight",
    ),
    "another vocabulary": (
        same,
        {"vocab_size": 2048},
        r"embed_tokens\.weight is \[1024, 128\] in the files, and \[2048, 128\] by the config",
    ),
    "a head unlike the embeddings": (
        lambda weights: weights.update({HEAD: weights[EMBEDDINGS] * 2}),
        {},
        r"lm_head\.weight of .* differs from the embeddings, .* set it to false",
    ),
    "no heads": (same, {"num_attention_heads": 0}, "num_attention_heads is 0 in .*from 1 to"),
    "negative heads": (same, {"num_attention_heads": -4}, "num_attention_heads is -4 in"),
    "heads as text": (same, {"num_attention_heads": "4"}, 'num_attention_heads is "4" in'),
    "heads that do not divide": (
        same,
        {"num_attention_heads": 5, "num_key_value_heads": 2},
        "num_attention_heads 5 of .* is not divided by num_key_value_heads 2",
    ),
    "a size that does not divide": (
        same,
        {"head_dim": None, "num_attention_heads": 6},
        "hidden_size 128 of .* is not divided by num_attention_heads 6",
    ),
    "a thousand million layers": (
        same,
        {"num_hidden_layers": 10**9},
        "num_hidden_layers is 1000000000 in .* from 1 to 10,000",
    ),
}
FIELDS: dict[str, tuple[Callable[[Tensors], object], dict[str, object], str]] = {
    name: (same, {name: value}, rf"{name} is {json.dumps(value)} in .*config\.json, .*; remove it")
    for name, value in {
        "sliding_window": 8,
        "partial_rotary_factor": 0.5,
        "logit_scale": 0.05,
        "is_causal": False,
        "bias": True,
        "qk_norm": True,
    }.items()
} | {
    "part of the rotation": (
        same,
        {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        "partial_rotary_factor is 0.5 in",
    ),
    "another family's class": (
        same,
        {"architectures": ["Qwen2ForCausalLM"]},
        "of type llama and has the architectures Qwen2ForCausalLM, .*correct the one",
    ),
}
"""What one engine applies and another ignores."""
NEUTRAL: dict[str, object] = {
    "sliding_window": None,
    "partial_rotary_factor": 1.0,
    "logit_scale": 1,
    "is_causal": True,
    "bias": False,
    "architectures": None,
}
NO_NUMBERS: dict[str, tuple[Callable[[Tensors], object], dict[str, object], str]] = {
    f"{value} in {name}": (filled(name, value), {}, f"{name} of .* infinite or no numbers")
    for name in (MATRIX, NORM, EMBEDDINGS)
    for value in (float("nan"), float("inf"), float("-inf"))
}


def test_fields_that_mean_the_same_to_all_are_no_fault(tmp_path: Path) -> None:
    """Nor is the window that Qwen's configs name and do not use."""
    open_checkpoint(changed(tmp_path / "model", same, **NEUTRAL))
    config = {"model_type": "qwen3", "architectures": None, "sliding_window": 4096}
    check_fields(tmp_path / "config.json", config | {"use_sliding_window": False})


def test_an_adapter_beside_the_weights_is_refused(tmp_path: Path) -> None:
    folder = changed(tmp_path / "model", same)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "other"}')
    with pytest.raises(BadInput, match=r"holds an adapter .*; merge it into the weights"):
        open_checkpoint(folder)


@pytest.mark.parametrize("case", [*WRONG, *FIELDS, *NO_NUMBERS])
def test_what_is_wrong_is_said_on_opening(case: str, tmp_path: Path) -> None:
    change, config, words = (WRONG | FIELDS | NO_NUMBERS)[case]
    folder = changed(tmp_path / "model", change, **config)
    with pytest.raises(BadInput, match=words):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no head", f"lacks weights of its model, {HEAD}"),
        ("no matrix", f"lacks weights of its model, {MATRIX}"),
        ("no norm", f"lacks weights of its model, {NORM}"),
        ("fewer layers in the files", "lacks weights of its model, model.layers.4"),
        ("more layers in the files", "has weights that its model has no place for, model.layers.3"),
        ("a strange weight", "has weights that its model has no place for, score.weight"),
        ("another vocabulary", f"weights of other shapes than its model, {EMBEDDINGS}"),
    ],
)
def test_no_weight_is_drawn_at_random_for_whoever_opens_nothing(
    case: str, words: str, tmp_path: Path
) -> None:
    """A checkpoint that was made by hand: what the loader itself reports is refused."""
    change, config, _ = WRONG[case]
    folder = changed(tmp_path / "model", change, **config)
    with pytest.raises(BadInput, match=words), TransformersEngine(Checkpoint(folder, "unknown")):
        pass


@pytest.mark.parametrize("case", ["no matrix", "a thousand million layers"])
def test_the_command_says_it_in_one_sentence(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change, config, _ = WRONG[case]
    folder = changed(tmp_path / "model", change, **config)
    flags = ["--model", str(folder), "--method", "magnitude", "--sparsity", "0"]
    assert f"{folder}" in refused(main, tmp_path, capfd, *flags)
    assert not (tmp_path / "mlruns").exists()


def test_sizes_are_checked_before_weights_are_fetched(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model", num_hidden_layers=10**9)
    with pytest.raises(BadInput, match="num_hidden_layers is 1000000000"):
        find_model(str(folder))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"model": {"type": "BPE"}}', '{"model": 3}']
)
def test_a_damaged_tokenizer_is_named(text: str, tmp_path: Path) -> None:
    folder = copied(tmp_path / "model")
    open_checkpoint(folder)
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(DamagedModel, match=r"tokenizer\.json is no tokenizer \(.*fetch it again"):
        open_checkpoint(folder)


def test_what_is_harmless_is_let_in(tmp_path: Path) -> None:
    """The embeddings stored once more as the head, and frequencies that old checkpoints store."""

    def change(weights: Tensors) -> None:
        weights[HEAD] = weights[EMBEDDINGS].clone()
        weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(16)

    open_checkpoint(changed(tmp_path / "model", change))


def test_a_head_of_its_own_is_let_in(tmp_path: Path) -> None:
    def change(weights: Tensors) -> None:
        weights[HEAD] = weights[EMBEDDINGS] * 2

    open_checkpoint(changed(tmp_path / "model", change, tie_word_embeddings=False))


def test_weights_in_two_files_are_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model")
    save_file({"other": torch.ones(2)}, folder / "adapter.safetensors")
    open_checkpoint(folder)
    save_file({NORM: torch.ones(128)}, folder / "old.safetensors")
    with pytest.raises(BadInput, match=rf"{NORM} is both in .* and in old\.safetensors.*remove"):
        open_checkpoint(folder)


def test_a_weight_that_the_index_promises_is_missed(tmp_path: Path) -> None:
    """For every family, known here or not."""
    folder = copied(tmp_path / "model", model_type="gemma")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": dict.fromkeys(weights, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    del weights[NORM]
    save_file(weights, folder / "model-00001-of-00001.safetensors", {"format": "pt"})
    with pytest.raises(DamagedModel, match=f"no weight {NORM}, which its index names"):
        open_checkpoint(folder)


def test_other_families_are_held_to_their_layers(tmp_path: Path) -> None:
    open_checkpoint(copied(tmp_path / "fits", model_type="gemma"))
    further = copied(
        tmp_path / "further", model_type="gemma", num_hidden_layers=3, num_nextn_predict_layers=1
    )
    open_checkpoint(further)
    with pytest.raises(DamagedModel, match=r"weights of 4 layers, and .* is 6"):
        open_checkpoint(copied(tmp_path / "more", model_type="gemma", num_hidden_layers=6))


def test_a_download_that_is_not_what_the_hub_named_is_refused(tmp_path: Path) -> None:
    """The hub's cache: a snapshot of links to files that are named by their digests."""
    snapshot = copied(tmp_path / "snapshots" / "main")
    file = snapshot / "model.safetensors"
    digest = "9d" * 32
    (tmp_path / "blobs").mkdir()
    file.rename(tmp_path / "blobs" / digest)
    file.symlink_to(tmp_path / "blobs" / digest)
    with pytest.raises(DamagedModel, match=f"not what the hub says it is; remove .*{digest}"):
        open_checkpoint(snapshot)


CONFIG = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "vocab_size": 64}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": 6, "num_key_value_heads": 2},
        {"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 4},
        {"num_attention_heads": 6, "num_key_value_heads": 6, "attention_bias": True},
        {"num_attention_heads": 6, "num_key_value_heads": None, "mlp_bias": True},
        {"num_attention_heads": 32, "hidden_size": 64, "tie_word_embeddings": True},
        {"num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": False},
    ],
)
def test_expected_weights_are_those_of_the_modules(
    family: str, config: dict[str, object], tmp_path: Path
) -> None:
    content = {"model_type": family, **CONFIG, **config}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    state = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    if config.get("tie_word_embeddings"):
        del state[HEAD]
    assert expected_shapes(content) == state


@pytest.mark.parametrize("name", ["tiny-1m", "tiny-5m"])
def test_embedded_models_hold_what_they_should(name: str) -> None:
    assert open_model(name).checkpoint.format == "dense"
