"""What a Hugging Face folder must hold before anything is made of it, for every engine and method.

Loaders are lenient: what a file lacks they draw at random, and what a model has no place for they
drop. Here the config's numbers, the names and shapes of all weights, and the tokenizer's file are
held against one another. Only headers are read, so it costs next to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lrm.config_fields import check_fields
from lrm.errors import BadInput, DamagedModel
from lrm.expected_weights import expected_shapes
from lrm.model_config import read_config
from lrm.model_sizes import FAMILIES, check_sizes
from lrm.records.model import Format
from lrm.stored_tensors import StoredTensor, same_values, stored_tensors
from lrm.tokenizer_checks import check_tokenizer
from lrm.weight_files import COMPUTED

EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
LAYER = re.compile(r"(model\.)?layers\.(\d+)\.")


def check_model(folder: Path, stored: Format) -> dict[str, StoredTensor]:
    """The tensors of a folder whose weights are stored so.

    BadInput, or DamagedModel if fetching or making it again may help, unless config, weights and
    tokenizer are those of one model.
    """
    config = read_config(folder)
    check_sizes(folder / "config.json", config)
    check_fields(folder / "config.json", config)
    _refuse_adapter(folder)
    tensors = stored_tensors(folder)
    _check_layers(folder, config, tensors)
    if config["model_type"] in FAMILIES:
        expected = expected_shapes(config)
        if stored == "dense":
            _check_dense(folder, tensors, expected)
        else:
            _check_packed(folder, tensors, expected)
        _check_head(folder, tensors, expected)
    if (folder / "tokenizer.json").is_file():
        size = config.get("vocab_size")
        check_tokenizer(folder, size if isinstance(size, int) else None)
    return tensors


def _refuse_adapter(folder: Path) -> None:
    """BadInput if an adapter lies beside the weights. Transformers loads it, or the model that it
    was made for, if peft is installed; else nobody loads it, and nothing says so."""
    file = folder / "adapter_config.json"
    if file.is_file():
        raise BadInput(
            f"{folder} holds an adapter ({file.name}), which some engines load and others ignore; "
            "merge it into the weights and save them, or remove its files."
        )


def _check_layers(folder: Path, config: Mapping[str, object], stored: Mapping[str, object]) -> None:
    """DamagedModel unless the files have as many layers as the config says.

    Some families store layers behind the last one that predict further tokens and are not run.
    """
    layers, further = config.get("num_hidden_layers"), config.get("num_nextn_predict_layers")
    there = {int(match[2]) for match in map(LAYER.match, stored) if match}
    if not isinstance(layers, int) or not there:
        return
    count = max(there) + 1
    extra = further if isinstance(further, int) else 0
    if not layers <= count <= layers + extra:
        raise DamagedModel(
            f"{folder} has the weights of {count} layers, and num_hidden_layers of its config.json "
            f"is {layers}; fetch both again."
        )


def _check_dense(
    folder: Path, stored: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """DamagedModel unless the files hold the model's weights in their shapes, and nothing else."""
    missing = [name for name in expected if name not in stored and name != HEAD]
    if missing or (HEAD in expected and HEAD not in stored):
        name = missing[0] if missing else HEAD
        raise DamagedModel(f"{folder} has no weight {name}; save the model again{_hint(missing)}.")
    for name, shape in expected.items():
        if stored[name].shape != shape:
            raise DamagedModel(
                f"{folder} cannot be loaded, save it again: {name} is {list(stored[name].shape)} "
                f"in the files, and {list(shape)} by the config."
            )
    _refuse_strange(
        folder,
        [
            name
            for name in stored
            if name not in expected and name != HEAD and not name.endswith(COMPUTED)
        ],
    )


def _hint(missing: list[str]) -> str:
    """What else may be said of missing weights: how many, or what to do without a head."""
    if not missing:
        return (
            ", or set tie_word_embeddings to true in its config.json if the embeddings are its head"
        )
    return f" ({len(missing)} weights are missing)" if len(missing) > 1 else ""


def _check_packed(
    folder: Path, stored: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """The same by modules, since each format of packed weights stores a matrix in parts of its
    own."""
    modules = {name.rpartition(".")[0] for name in stored}
    wanted = {name.rpartition(".")[0] for name in expected if name.endswith(".weight")}
    missing = sorted(wanted - modules)
    if missing:
        raise DamagedModel(f"{folder} has no weights of {missing[0]}; save the model again.")
    parents = {module.rpartition(".")[0] for module in wanted}  # scales of a cache belong to these
    known = wanted | parents | {HEAD.removesuffix(".weight")}
    _refuse_strange(
        folder,
        [
            name
            for name in stored
            if name.rpartition(".")[0] not in known and not name.endswith(COMPUTED)
        ],
    )


def _refuse_strange(folder: Path, strange: list[str]) -> None:
    if strange:
        count = f"{len(strange)} weights" if len(strange) > 1 else "a weight"
        raise DamagedModel(
            f"{folder} has {count} that its config.json has no place for, {min(strange)}; fetch "
            "the config again, or save the model without them."
        )


def _check_head(
    folder: Path, stored: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """BadInput if the config says that the embeddings are the head, and the files have another."""
    if HEAD in expected or HEAD not in stored:
        return
    if EMBEDDINGS not in stored or not same_values(stored[HEAD], stored[EMBEDDINGS]):
        raise BadInput(
            f"{HEAD} of {folder} differs from the embeddings, though tie_word_embeddings of its "
            "config.json is true, and engines differ in which they take; set it to false, or save "
            "the model without the head."
        )
