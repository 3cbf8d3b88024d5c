"""A tokenizer by the name of a folder, or of a repository on the hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]
from transformers import PreTrainedTokenizerBase

from lrm.errors import BadInput
from lrm.network import check_network
from lrm.tokenizer_checks import check_tokenizer
from lrm.tokenizers import open_folder

HUB_TIMEOUT = 5.0
"""Seconds of silence after which the hub counts as out of reach."""

FILES = ["*.json", "*.jinja", "*.model", "*.txt"]
"""What a tokenizer consists of; nothing that runs code."""


def open_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder, else the one downloaded before, else the one on the hub.

    Raises BadInput if there is none, and as of `lrm.tokenizer_checks`.
    """
    folder = Path(source) if Path(source).exists() else _fetched(source)
    check_tokenizer(folder)
    return open_folder(folder)


def _fetched(name: str) -> Path:
    """The folder of a repository's small files. The hub is asked for the repository before anything
    is downloaded, since a download from an unreachable hub is retried for half a minute."""
    try:
        try:
            folder = Path(snapshot_download(name, allow_patterns=FILES, local_files_only=True))
            if (folder / "tokenizer_config.json").is_file():
                return folder
        except OSError:
            pass  # it was not downloaded yet
        check_network()
        HfApi().model_info(name, timeout=HUB_TIMEOUT)
        return Path(snapshot_download(name, allow_patterns=FILES))
    except (HTTPError, HFValidationError, OSError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise BadInput(
            f"tokenizer {name} cannot be loaded ({reason}); give a folder that holds "
            "tokenizer.json, or the hub id of one"
        ) from error
