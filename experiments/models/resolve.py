"""From the name of a model to a checkpoint on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.models.gguf_choice import choose
from experiments.models.hub import find_repository
from lrm import formats, registry
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.gguf.parts import stem
from lrm.digests import of_files
from lrm.errors import BadInput
from lrm.model_config import read_config
from lrm.model_sizes import check_sizes
from lrm.records.model import Checkpoint, Format
from lrm.tokenizer_checks import check_tokenizer

EMBEDDED = Path(__file__).parents[2] / "lrm" / "tiny" / "models"
FOLDER = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
"""The files of a model that are fetched: weights, configs and tokenizer; nothing that runs code."""

TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
"""The files that decide what a tokenizer does, in the order in which they are digested."""


@dataclass(frozen=True)
class Model:
    """A checkpoint, its name, and how many tokens its answers may take."""

    name: str
    checkpoint: Checkpoint
    answer_tokens: int
    embedded: bool

    @property
    def has_chat_template(self) -> bool:
        """Whether its tokenizer has a template for conversations."""
        path = self.checkpoint.path
        if self.checkpoint.format in registry.FILE_FORMATS:
            return registry.file_format(self.checkpoint.format).has_chat_template(path)
        if (path / "chat_template.jinja").is_file():
            return True
        config = path / "tokenizer_config.json"
        return config.is_file() and "chat_template" in json.loads(
            config.read_text(encoding="utf-8")
        )


@dataclass(frozen=True)
class LocatedModel:
    """A model whose weights are not fetched yet: its name, and the format of its weights."""

    name: str
    format: Format
    fetch: Callable[[], Path]

    def open(self) -> Model:
        """Fetches what is not here yet, and reads all of it once, for its digest."""
        path = self.fetch()
        embedded = path.parent == EMBEDDED
        checkpoint = _opener(self.format)(path)
        answer_tokens = 32 if embedded else _answer_tokens(checkpoint)
        return Model(self.name, checkpoint, answer_tokens, embedded)


def _opener(stored: Format) -> Callable[[Path], Checkpoint]:
    if stored in registry.FILE_FORMATS:
        return registry.file_format(stored).open
    return open_tokenizer if stored == "tokenizer" else open_checkpoint


def _answer_tokens(checkpoint: Checkpoint) -> int:
    """What an answer may take: 1,024 tokens, or a quarter of what a model reads that reads fewer
    than twice as many."""
    if checkpoint.format in ("gguf", "tokenizer"):
        return 1024
    reads = read_config(checkpoint.path).get("max_position_embeddings")
    return reads // 4 if isinstance(reads, int) and reads < 2048 else 1024


def embedded_names() -> list[str]:
    return sorted(path.name for path in EMBEDDED.iterdir() if path.is_dir())


def open_model(name: str) -> Model:
    return find_model(name).open()


def find_model(name: str, tokenizer_only: bool = False) -> LocatedModel:
    """Finds an embedded model, a local folder, a GGUF file (the first part of a split one), or a
    hub id, with ":" and a word of its name for one of several GGUF models.

    Only names with a slash are looked for on the hub, and only if they are no local path.
    `tokenizer_only`: the model runs elsewhere, so that no weights are needed. Raises BadInput where
    nothing, or more than one model, has the name.
    """
    if name in embedded_names():
        return _in_folder(name, EMBEDDED / name, tokenizer_only)
    path = Path(name)
    if path.is_dir():
        folder = path.resolve()
        return _in_folder(folder.name, folder, tokenizer_only)
    if path.is_file() or (path.suffix == ".gguf" and ":" not in name):
        # Not resolved: the name of a link itself says which part of a split file it is.
        return _in_file(path.absolute(), tokenizer_only)
    if "/" not in name or name.startswith((".", "/")):
        registry.require("embedded model, file or folder", name, embedded_names())
    return _on_hub(name, tokenizer_only)


def open_tokenizer(folder: Path) -> Checkpoint:
    """A folder as the tokenizer of a model that runs elsewhere, with no weights."""
    files = [folder / name for name in TOKENIZER if (folder / name).is_file()]
    if not files:
        raise BadInput(f"{folder} has no tokenizer.json; give a folder or a hub id that has one")
    check_tokenizer(folder)
    return Checkpoint(folder, of_files(files), format="tokenizer")


def _checked_config(folder: Path) -> Mapping[str, object]:
    """The config, its sizes checked before any weights are fetched."""
    config = read_config(folder)
    check_sizes(folder / "config.json", config)
    return config


def _in_file(path: Path, tokenizer_only: bool) -> LocatedModel:
    if tokenizer_only:
        raise BadInput(
            f"{path} is a file, and a server's tokens are counted with a Hugging Face tokenizer; "
            "give a folder or a hub id that has the tokenizer.json of the model it serves"
        )
    return LocatedModel(stem(path), "gguf", lambda: path)


def _in_folder(name: str, folder: Path, tokenizer_only: bool) -> LocatedModel:
    if tokenizer_only:
        return LocatedModel(name, "tokenizer", lambda: folder)
    files = [path.name for path in folder.glob("*.gguf")]
    if files and not any(folder.glob("*.safetensors")):
        first = choose(files, "", str(folder), f"give the path of one: {folder}/NAME.gguf")[0]
        return _in_file(folder / first, tokenizer_only)
    return LocatedModel(name, formats.of_config(_checked_config(folder), folder), lambda: folder)


def _on_hub(text: str, tokenizer_only: bool) -> LocatedModel:
    name, _, word = text.partition(":")
    repository = find_repository(name)
    if tokenizer_only:
        wanted = (*TOKENIZER, "config.json")  # the config may name the tokenizer's class
        return LocatedModel(text, "tokenizer", lambda: repository.fetch(wanted))
    suffixes = {Path(file).suffix for file in repository.files}
    if word or (".gguf" in suffixes and ".safetensors" not in suffixes):
        first, *rest = choose(
            repository.files, word, repository.described, f"name one: {name}:NAME"
        )
        return LocatedModel(text, "gguf", lambda: repository.fetch_file(first, rest))
    config = _checked_config(repository.fetch(["config.json"]))
    return LocatedModel(text, formats.of_config(config, text), lambda: repository.fetch(FOLDER))
