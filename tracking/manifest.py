"""What a bundle says of the runs in it: `manifest.json`, read with mistrust."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, NamedTuple, get_args

from lrm.digests import of_json
from lrm.errors import BadInput

FORMAT = 1
MANIFEST = "manifest.json"

Kind = Literal["study", "import", "level", "trial"]
HOMES: tuple[Kind, ...] = ("study", "import")
"""What a bundle is of: the kinds of its first run. A study brings levels and trials."""
Status = Literal["FINISHED", "FAILED", "KILLED"]
LINKS = ("parent_run_id", "level_run_id")
"""Tags that hold the id of another run."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ORIGIN = re.compile(r"[0-9a-f]{8,64}/[A-Za-z0-9_-]{1,64}")
_KEY = re.compile(r"[\w.\-/ :]{1,250}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSAFE = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f]')


class Damaged(ValueError):
    """What is wrong with a bundle, in words."""


def need(holds: bool, otherwise: str) -> None:
    """Raises Damaged where something does not hold."""
    if not holds:
        raise Damaged(otherwise)


class Value(NamedTuple):
    """One value of a metric; `time` in ms since 1970."""

    step: int
    value: float
    time: int


class File(NamedTuple):
    size: int
    sha256: str


@dataclass(frozen=True)
class BundledRun:
    """A run as it was. `origin` names it wherever it goes: its first store's id, and its id there.

    `start` and `end` are in ms since 1970; `links` has the ids of other runs by the tag that holds
    them; `files` are its artifacts by path.
    """

    id: str
    origin: str
    kind: Kind
    name: str
    status: Status
    start: int
    end: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    links: Mapping[str, str]
    metrics: Mapping[str, Sequence[Value]]
    files: Mapping[str, File]

    @property
    def digest(self) -> str:
        """Of all that the run holds; equal ones need not be brought in again."""
        return of_json(_plain(self))


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds and where it comes from: the run of the study or import first, then
    levels and trials. `study` is its name.

    `store` is the address without credentials, `experiments` the ids there by name, `exported` the
    time in UTC, `unfinished` how the study stood if it had not reached its end.
    """

    study: str
    lrm: str
    exported: str
    store: str
    store_id: str
    experiments: Mapping[str, str]
    team: str
    owner: str
    unfinished: str
    runs: Sequence[BundledRun]


def body(manifest: Manifest) -> dict[str, Any]:
    """A manifest as it is written, with its digest."""
    told: dict[str, Any] = {
        "format": FORMAT,
        **vars(manifest),
        "runs": [_plain(run) for run in manifest.runs],
        "files": _list_files(manifest.runs),
    }
    return told | {"digest": of_json(told)}


def parse(told: dict[str, Any]) -> Manifest:
    """Raises Damaged, or what wrong types raise, for a manifest that does not hold together."""
    version = int(told["format"])
    if version > FORMAT:
        raise BadInput(
            f"The bundle has format {version}, which this version of the project does not know: "
            f"install {told.get('lrm')} or newer."
        )
    rest = {name: value for name, value in told.items() if name != "digest"}
    need(told["digest"] == of_json(rest), f"{MANIFEST} has another checksum")
    runs = tuple(map(_run, told["runs"]))
    need(told["files"] == _list_files(runs), "its list of files is not that of its runs")
    need(len({run.id for run in runs}) == len(runs), "a run stands twice")
    homes = [run.kind in HOMES for run in runs]
    need(homes.count(True) == 1, "it does not hold one study or import")
    need(homes[0], "the study is not its first run")
    texts = {name: str(told[name]) for name in Manifest.__annotations__
             if name not in ("runs", "experiments")}  # fmt: skip
    return Manifest(runs=runs, experiments=_texts(told["experiments"]), **texts)


def _run(told: dict[str, Any]) -> BundledRun:
    need(bool(_ID.fullmatch(told["id"])), f"{told['id']!r} is no run's id")
    need(bool(_ORIGIN.fullmatch(told["origin"])), f"{told['origin']!r} is no origin")
    need(told["kind"] in get_args(Kind), f"{told['kind']!r} is no kind of run")
    need(told["status"] in get_args(Status), f"{told['status']!r} is no status")
    links = _texts(told["links"])
    need(set(links) <= set(LINKS), "it links runs in a way that is not known")
    for name in (*told["params"], *told["tags"], *told["metrics"]):
        need(bool(_KEY.fullmatch(name)), f"{name!r} names no param, tag or metric")
    files = {path: File(int(size), sha) for path, (size, sha) in told["files"].items()}
    for path, known in files.items():
        need(is_safe(path), f"the name {path!r} is not safe")
        need(bool(_SHA256.fullmatch(known.sha256)), f"{path} has no sha256")
    return BundledRun(
        id=told["id"],
        origin=told["origin"],
        kind=told["kind"],
        name=str(told["name"]),
        status=told["status"],
        start=int(told["start"]),
        end=int(told["end"]),
        params=_texts(told["params"]),
        tags=_texts(told["tags"]),
        links=links,
        metrics={
            name: [Value(int(step), float(value), int(time)) for step, value, time in values]
            for name, values in told["metrics"].items()
        },
        files=files,
    )


def _texts(told: dict[str, Any]) -> dict[str, str]:
    for name, value in told.items():
        need(isinstance(value, str), f"the value of {name} is no text")
    return dict(told)


def _plain(run: BundledRun) -> dict[str, Any]:
    """A run as JSON has it; numbers that JSON lacks (NaN, infinities) as texts."""
    return vars(run) | {
        "files": {path: list(known) for path, known in run.files.items()},
        "metrics": {
            name: [
                [step, value if isfinite(value) else str(value), time]
                for step, value, time in values
            ]
            for name, values in run.metrics.items()
        },
    }


def _list_files(runs: Sequence[BundledRun]) -> list[dict[str, Any]]:
    return [
        {"name": member(run.id, path), **known._asdict()}
        for run in runs
        for path, known in run.files.items()
    ]


def member(run_id: str, path: str) -> str:
    """The name of an artifact in the zip."""
    return f"runs/{run_id}/{path}"


def is_safe(name: str) -> bool:
    """Whether a path stays where it is unpacked, on any system."""
    parts = name.split("/")
    return not _UNSAFE.search(name) and not {"", ".", ".."} & set(parts)
