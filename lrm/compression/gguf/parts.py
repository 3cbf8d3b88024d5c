"""The files of a GGUF model, one or several, by their names alone."""

from __future__ import annotations

import re
from pathlib import Path

from lrm.errors import BadInput

PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
"""How llama.cpp names the parts of a split file; it is given the first and finds the others."""


def parts(path: Path) -> list[Path]:
    """All files of the model whose first or only one is `path`; BadInput names a missing one."""
    named = PART.fullmatch(path.name)
    count = int(named["count"]) if named else 1
    files = [_part(path, number, count) for number in range(1, count + 1)] if named else [path]
    if files[0] != path:
        raise BadInput(f"{path} is a part of a split file; give its first part, {files[0].name}")
    for number, file in enumerate(files, 1):
        if not file.is_file():
            raise BadInput(
                f"there is no file {file}, part {number} of {count}; fetch it into the same folder"
                if count > 1
                else f"there is no file {file}; give the path of a GGUF file"
            )
    return files


def stem(path: Path) -> str:
    """A model's name: its file's, without the number of the part."""
    named = PART.fullmatch(path.name)
    return named["stem"] if named else path.name.removesuffix(".gguf")


def _part(path: Path, number: int, count: int) -> Path:
    return path.with_name(
        PART.sub(lambda named: f"{named['stem']}-{number:05}-of-{count:05}.gguf", path.name)
    )
