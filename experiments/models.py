"""From the name of a model to a checkpoint on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lrm import registry
from lrm.compression.checkpoints import open_checkpoint
from lrm.errors import BadInput
from lrm.records import Checkpoint

EMBEDDED = Path(__file__).parents[1] / "lrm" / "tiny" / "models"


@dataclass(frozen=True)
class Model:
    """A checkpoint, what to call it, and how many tokens its answers may take."""

    name: str
    checkpoint: Checkpoint
    answer_tokens: int
    embedded: bool

    @property
    def has_chat_template(self) -> bool:
        """Whether its tokenizer says how a conversation is written."""
        folder = self.checkpoint.path
        if (folder / "chat_template.jinja").is_file():
            return True
        config = folder / "tokenizer_config.json"
        return config.is_file() and "chat_template" in json.loads(config.read_text())


def embedded_names() -> list[str]:
    return sorted(path.name for path in EMBEDDED.iterdir() if path.is_dir())


def open_model(name: str) -> Model:
    """Opens an embedded model, a local folder, or a hub id (downloaded unless it is cached).

    Only names with a slash that are no folder are looked for on the hub.
    """
    if name in embedded_names():
        return Model(name, open_checkpoint(EMBEDDED / name), answer_tokens=32, embedded=True)
    if Path(name).is_dir():
        folder = Path(name).resolve()
        return Model(folder.name, open_checkpoint(folder), answer_tokens=1024, embedded=False)
    if "/" not in name or name.startswith((".", "/")):
        registry.require("embedded model or folder", name, embedded_names())
    return Model(name, open_checkpoint(download(name)), answer_tokens=1024, embedded=False)


def download(name: str) -> Path:
    """Fetches safetensors, configs and tokenizer from the hub; nothing that can run code."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name, allow_patterns=["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(
            f"Model {name!r} is neither a folder nor reachable on the hub ({reason}): check the "
            f"name, or give a local folder or one of {', '.join(embedded_names())}."
        ) from error
