"""A tokenizer by the name of a folder, or of a repository on the hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lrm.engines.shared.tokenizer import LOCAL_ONLY
from lrm.errors import BadInput

HUB_TIMEOUT = 5.0
"""Seconds of silence after which the hub counts as out of reach."""


def open_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder, else the one downloaded before, else the one on the hub.

    The hub is asked for the repository first, since a download from an unreachable hub retries for
    half a minute. Raises BadInput for every failure: a broken file may end in KeyError, or even in
    a bare Exception of the tokenizers library.
    """
    try:
        try:
            return AutoTokenizer.from_pretrained(source, **LOCAL_ONLY)
        except (OSError, ValueError):
            if Path(source).exists():
                raise
        HfApi().model_info(source, timeout=HUB_TIMEOUT)
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BadInput(
            f"tokenizer {source} cannot be loaded ({reason}); give a folder that holds "
            "tokenizer.json, or the hub id of one"
        ) from error
