"""Where the embedded models are, for tests, and models made of them in other formats."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from experiments.models.resolve import EMBEDDED, TOKENIZER

TINY = EMBEDDED / "tiny-5m"
SMALLEST = EMBEDDED / "tiny-1m"


def copied(folder: Path, source: Path = SMALLEST, **config: object) -> Path:
    """A copy of an embedded model in `folder`, its config changed."""
    shutil.copytree(source, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def tokenizer_alone(folder: Path) -> Path:
    """The tokenizer of an embedded model, without its weights and config."""
    folder.mkdir(parents=True)
    for name in TOKENIZER:
        if (SMALLEST / name).is_file():
            shutil.copy(SMALLEST / name, folder)
    return folder


def split(file: Path, out: Path, tensors: int) -> Path:
    """A GGUF file in parts of so many tensors each; returns the first."""
    _rewrite(file, out, tensors)
    return sorted(out.parent.glob(f"{out.stem}-*.gguf"))[0]


def rewritten(file: Path, out: Path, **tokenizer: bool) -> Path:
    """A GGUF file with other flags of its tokenizer."""
    _rewrite(file, out, 0, {f"tokenizer.ggml.{name}": value for name, value in tokenizer.items()})
    return out


def _rewrite(file: Path, out: Path, tensors: int, flags: Mapping[str, bool] | None = None) -> None:
    from gguf import GGUFReader, GGUFWriter

    out.parent.mkdir(parents=True)
    reader = GGUFReader(file)
    writer = GGUFWriter(out, "llama", split_max_tensors=tensors)
    for field in reader.fields.values():
        kept = field.name not in (flags or {})
        if kept and not field.name.startswith("GGUF.") and field.name != "general.architecture":
            element = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], element)
    for name, value in (flags or {}).items():
        writer.add_bool(name, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
