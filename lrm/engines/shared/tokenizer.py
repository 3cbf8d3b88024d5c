"""A tokenizer by the name of a folder or of a repository on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers import AutoTokenizer

from lrm.errors import BadInput

PATIENCE = 5.0
"""Seconds of silence after which the hub counts as out of reach."""


def open_tokenizer(source: str) -> Any:
    """From the folder, else from what was downloaded before, else from the hub.

    The hub is asked for the repository first, since a download from an unreachable hub is retried
    for half a minute. Anything may be raised on the way (a broken file ends in KeyError, or in
    Exception itself from the tokenizers library), and all of it means the same.
    """
    try:
        try:
            return AutoTokenizer.from_pretrained(
                source, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError):
            if Path(source).exists():
                raise
        HfApi().model_info(source, timeout=PATIENCE)
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BadInput(
            f"tokenizer {source} cannot be loaded ({reason}); give a folder that holds "
            "tokenizer.json, or the hub id of one"
        ) from error
