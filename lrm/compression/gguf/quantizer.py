"""llama.cpp's own quantizer, `llama_model_quantize`, by ctypes.

Of all ways to it this one needs no program beside llama-cpp-python. The importance matrix and the
types of single tensors go in as plain C structures (llama.h: name, pointer and size; pattern and
type), so nothing depends on how a compiler lays out C++ objects, as it did in older versions, which
are refused.
"""

from __future__ import annotations

import ctypes
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from lrm.compression.gguf.files import Tensor, library
from lrm.compression.gguf.recipes import Override, Recipe
from lrm.contracts.method import OnModule
from lrm.errors import BadInput, CompressionFailed, MissingExtra
from lrm.signals import signals_wait

ERROR_LEVEL = 4
MOST_HEARD = 100_000
"""Messages kept: some two a tensor."""

PLANNED = re.compile(
    r"\[ *\d+/ *\d+\] (\S+) +- \[([\d, ]+)\], type = +(\w+), size = [^\n(]*(?:\((\w+)\))?\n"
)
"""A line of a dry run: name, shape, type now, and the type it is to become, if another."""

TENSOR = re.compile(r"\[ *(\d+)/ *(\d+)\] ")
"""What a line begins with before a tensor is quantized: the how manyth of how many."""

Importance = Mapping[str, NDArray[np.float32]]


def plan(file: Path, recipe: Recipe, overrides: Sequence[Override]) -> list[Tensor]:
    """What llama.cpp would make of a float16 file, by its dry run, which reads no weights."""
    said = _run(file, file.with_suffix(".none"), recipe, overrides, {}, dry=True)
    planned = [
        Tensor.of(name, [int(size) for size in shape.split(",")], (later or now).upper())
        for name, shape, now, later in PLANNED.findall(said)
    ]
    if not planned:
        raise CompressionFailed(
            f"llama.cpp's plan for {file} cannot be read; use llama-cpp-python 0.3.36"
        )
    return planned


def quantize(
    file: Path,
    out: Path,
    recipe: Recipe,
    overrides: Sequence[Override],
    importance: Importance,
    on_module: OnModule | None = None,
) -> None:
    """Writes the float16 file, quantized, to `out`. `importance`: the mean squared input of each
    column, by tensor name. `on_module` is called before each tensor. Ctrl-C takes effect when all
    are written, since llama.cpp cannot be stopped."""
    heard = _listener(quantizer())
    heard.on_module = on_module
    try:
        _run(file, out, recipe, overrides, importance, dry=False)
    finally:
        heard.on_module = None


def quantizer() -> ModuleType:
    """The module llama_cpp; MissingExtra if it is missing or too old."""
    try:
        lib = import_module("llama_cpp")
        lib.llama_model_imatrix_data, lib.llama_model_tensor_override  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise MissingExtra(
            "quantizing to GGUF needs llama-cpp-python, as new as 0.3.36; install it with "
            "pip install 'lrm[gguf]'"
        ) from error
    return lib


def _run(
    file: Path,
    out: Path,
    recipe: Recipe,
    overrides: Sequence[Override],
    importance: Importance,
    dry: bool,
) -> str:
    """One call; returns what llama.cpp said."""
    lib, gguf = quantizer(), library()
    listener = _listener(lib)
    types = gguf.GGMLQuantizationType
    params = lib.llama_model_quantize_default_params()
    params.ftype = gguf.LlamaFileType[f"MOSTLY_{recipe.file_type}"]
    params.dry_run = dry
    named = [(pattern.encode(), types[kind]) for pattern, kind in overrides]
    tensors = (lib.llama_model_tensor_override * (len(named) + 1))(*named)
    params.tt_overrides = tensors
    columns = [
        (name.encode(), values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), values.size)
        for name, values in importance.items()
    ]
    if columns:
        params.imatrix = (lib.llama_model_imatrix_data * (len(columns) + 1))(*columns)
    heard(lib)
    with signals_wait():
        failed = lib.llama_model_quantize(
            str(file).encode(), str(out).encode(), ctypes.byref(params)
        )
    if failed:
        reason = " ".join((listener.wrong or ["it gives no reason"])[-1].split())
        if "unknown model architecture" in reason or "failed to load" in reason:
            raise BadInput(f"llama.cpp cannot read {file} ({reason}); give another model")
        raise CompressionFailed(f"llama.cpp could not write {out} as {recipe.name} ({reason})")
    return "".join(listener.said)


def heard(lib: ModuleType) -> deque[str]:
    """From now on llama.cpp prints nothing; the errors that it tells, which come in here."""
    listener = _listener(lib)
    listener.said.clear()
    listener.wrong.clear()
    lib.llama_log_set(listener.callback, None)
    return listener.wrong


@dataclass
class _Listener:
    """What llama.cpp `said`, and what was `wrong`; `on_module` follows the tensors it names."""

    said: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_HEARD))
    wrong: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    on_module: OnModule | None = None
    callback: object = None

    def hear(self, level: int, text: bytes, _: object) -> None:
        words = text.decode(errors="replace")
        (self.wrong if level == ERROR_LEVEL else self.said).append(words)
        if self.on_module and (at := TENSOR.match(words)):
            self.on_module(int(at[1]) - 1, int(at[2]))


@cache
def _listener(lib: ModuleType) -> _Listener:
    """A log callback that prints nothing. llama.cpp goes on calling it, so it is kept for good."""
    listener = _Listener()
    listener.callback = lib.llama_log_callback(listener.hear)
    return listener
