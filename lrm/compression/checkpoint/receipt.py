"""The receipt of a compressed checkpoint: what was done to it, step by step, and matrix by matrix.

It is the file `lineage.json`, written last, so that a folder that has it is whole. It holds
timings, so it is no part of the checkpoint's revision. It also holds the digest of every file of
the folder, and one of itself, which are checked whenever the checkpoint is opened: a bit that flips
on a disk would otherwise be measured as if it were the method's doing. Receipts of earlier versions
have no digests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NotRequired, Required, TypedDict

from lrm.digests import of_file, of_json
from lrm.errors import DamagedModel, unreadable
from lrm.files import write_atomic

RECEIPT = "lineage.json"
EXCESS = 1e-3
"""A smaller share of zeros beyond what was asked comes of rounding."""

KEYS = ("method", "parent", "params", "modules")


class ModuleReport(TypedDict, total=False):
    """What became of one matrix. Pruners and quantizers report other things; `module` and `weights`
    (their number) are always there.

    Of pruners: `sparsity` asked for and `sparsity_achieved`; `ceiling`, the highest that the module
    may have; `error` of its outputs, as a share; `damping` and whether that had to be raised;
    `seconds_all_levels`. Of quantizers: `block`, whether it is a linear layer of the blocks;
    `bytes`; `type` it is stored in and `asked` for, and whether it `fell_back` to another; the
    squares of what quantization `lost`, and of the weights (`norm`). Of both: `protected`.
    """

    module: Required[str]
    weights: Required[int]
    protected: bool
    sparsity: float
    sparsity_achieved: float
    ceiling: float
    error: float
    damping: float
    damping_raised: bool
    seconds_all_levels: float
    block: bool
    bytes: int
    type: str
    asked: str
    fell_back: bool
    lost: float
    norm: float


class PerplexityReport(TypedDict):
    """The perplexity of the checkpoint and of the `dense` model before, and the `text`'s digest."""

    own: float
    dense: float
    text: str


class LineageStep(TypedDict):
    """One method applied to the checkpoint of revision `parent`."""

    method: str
    parent: str
    params: dict[str, str | int | float]
    modules: list[ModuleReport]
    perplexity: NotRequired[PerplexityReport]


class _Receipt(TypedDict):
    """The file's content; no digests in those of earlier versions."""

    steps: list[LineageStep]
    files: dict[str, str]


def is_complete(path: Path) -> bool:
    """Whether a folder holds a compressed checkpoint that was written to its end."""
    return (path / RECEIPT).is_file()


def write_receipt(folder: Path, steps: Sequence[Mapping[str, object]]) -> None:
    """Writes the receipt of a folder in which nothing is to change any more."""
    files = {
        file.relative_to(folder).as_posix(): of_file(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / RECEIPT
    }
    content: dict[str, object] = {"steps": list(steps), "files": files}
    written = json.dumps(content | {"digest": of_json(content)}, indent=1)
    write_atomic(folder / RECEIPT, written.encode())


def steps_of(folder: Path) -> list[LineageStep]:
    """What was done to a checkpoint, oldest first; empty without a receipt.

    Raises DamagedModel if the receipt cannot be read, or is not what was written.
    """
    return _read(folder)["steps"] if is_complete(folder) else []


def check_files(folder: Path, digests: Mapping[str, str]) -> None:
    """DamagedModel unless a folder's files, of which these are the digests by name, are those that
    its receipt names, or the receipt of the folder around it."""
    home, inside = (folder, ".") if is_complete(folder) else (folder.parent, folder.name)
    if not is_complete(home):
        return
    paths = {PurePosixPath(name): digest for name, digest in _read(home)["files"].items()}
    made = {path.name: digest for path, digest in paths.items() if str(path.parent) == inside}
    changed = {name for name, digest in digests.items() if made.get(name) != digest}
    changed |= {name for name in made if not (folder / name).is_file()}
    if made and changed:
        raise DamagedModel(
            f"{folder / min(changed)} is not what it was when the checkpoint was made; make the "
            f"checkpoint again, or remove its {RECEIPT} to use it as a model of its own."
        )


def _read(folder: Path) -> _Receipt:
    path = folder / RECEIPT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        digest = content.pop("digest", None)
        if ("files" in content or digest) and digest != of_json(content):
            raise ValueError("it is not what was written")
        missing = [key for step in content["steps"] for key in KEYS if key not in step]
        if missing:
            raise KeyError(missing[0])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(path, error) from error
    return {"steps": content["steps"], "files": content.get("files") or {}}


def measured(modules: Sequence[ModuleReport]) -> dict[str, float]:
    """What the reports of a step's matrices add up to.

    `damping/max`: the largest damping that one needed; `damping/raised`: how many needed more than
    was asked; `protected/share`: the share of weights that were left dense by name, and
    `limited/share` of those that were to be denser than the rest; `sparsity/excess`, where there is
    any: the share of zeros beyond what was asked, in what was pruned.
    """
    sums = {}
    damped = [module for module in modules if "damping" in module]
    if damped:
        sums["damping/max"] = max(module["damping"] for module in damped)
        sums["damping/raised"] = float(sum(module["damping_raised"] for module in damped))
    total = sum(module["weights"] for module in modules)
    protected = sum(module["weights"] for module in modules if module.get("protected"))
    limited = sum(module["weights"] for module in modules if module.get("ceiling"))
    if protected:
        sums["protected/share"] = protected / total
    if limited:
        sums["limited/share"] = limited / total
    excess = _excess(modules)
    if excess > EXCESS:
        sums["sparsity/excess"] = excess
    return sums


def _excess(modules: Sequence[ModuleReport]) -> float:
    """The share of zeros beyond what was asked, in the modules that were pruned."""
    pruned = [row for row in modules if "sparsity" in row and not row.get("protected")]
    weights = sum(row["weights"] for row in pruned)
    more = sum(
        row["weights"] * max(0.0, row["sparsity_achieved"] - row["sparsity"]) for row in pruned
    )
    return more / weights if weights else 0.0
