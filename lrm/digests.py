"""Identity by content: digests of the bytes that decide a result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path


def of_json(value: object) -> str:
    """sha256 of a JSON value in its canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def of_files(paths: Iterable[Path]) -> str:
    """sha256 over the names and contents of files, in the order of their names."""
    return of_digests({path.name: of_file(path) for path in paths})


def of_digests(digests: Mapping[str, str]) -> str:
    """`of_files` of files whose digests are known, by their names."""
    total = hashlib.sha256()
    for name in sorted(digests):
        total.update(f"{name}\0{digests[name]}\n".encode())
    return total.hexdigest()


def of_file(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_hf_folder(folder: Path, without: str = "") -> dict[str, str]:
    """The digest of each file that decides a Hugging Face model's output: weights, configs,
    tokenizer. `of_digests` makes one of them.

    `without` names a file that does not count.
    """
    return {
        path.name: of_file(path)
        for path in sorted(folder.iterdir())
        if path.suffix in {".safetensors", ".json", ".jinja", ".model", ".txt"}
        and path.name != without
        and path.is_file()
    }
