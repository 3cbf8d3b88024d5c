"""The manifest of a bundle, which describes its runs: `manifest.json`, checked when it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple, TypedDict, get_args

from lrm.digests import of_json
from lrm.errors import BadInput

FORMAT = 1
MANIFEST = "manifest.json"

BundledKind = Literal["study", "import", "level", "trial"]
HOMES: tuple[BundledKind, ...] = ("study", "import")
"""The kinds of a bundle's first run, which names what it is of."""
PARTS: tuple[BundledKind, ...] = ("level", "trial")
"""The kinds of the runs that a study brings with it."""
Status = Literal["FINISHED", "FAILED", "KILLED"]
LINKS = ("parent_run_id", "level_run_id")
"""Tags that hold the id of another run."""
DIGEST = "bundle.digest"
EXPORTED = "bundle.exported"
NOT_CARRIED = (*LINKS, DIGEST, EXPORTED, "mlflow.runName")
"""Tags that a bundle leaves out: an import writes its own, or MLflow does."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ORIGIN = re.compile(r"[0-9a-f]{8,64}/[A-Za-z0-9_-]{1,64}")
_KEY = re.compile(r"[\w.\-/ :]{1,250}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSAFE = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f]')


class Damaged(ValueError):
    """A bundle is not as it was written; the message says in what."""


def need(condition: bool, otherwise: str) -> None:
    """Raises Damaged with the message `otherwise` unless the condition holds."""
    if not condition:
        raise Damaged(otherwise)


class Value(NamedTuple):
    """One value of a metric; `time` in ms since 1970."""

    step: int
    value: float
    time: int


class File(NamedTuple):
    """An artifact; `size` is in bytes."""

    size: int
    sha256: str


class RunContent(TypedDict):
    """A run in manifest.json. Its parts are BundledRun's, as JSON has them."""

    id: str
    origin: str
    kind: BundledKind
    name: str
    status: Status
    start: int
    end: int
    params: dict[str, str]
    tags: dict[str, str]
    links: dict[str, str]
    metrics: dict[str, list[tuple[int, float | str, int]]]
    files: dict[str, tuple[int, str]]


class FileContent(TypedDict):
    """A file of the bundle in manifest.json."""

    name: str
    size: int
    sha256: str


class ManifestContent(TypedDict):
    """All of manifest.json. Its other parts are Manifest's."""

    format: int
    digest: str
    study: str
    lrm: str
    exported: str
    store: str
    store_id: str
    experiments: dict[str, str]
    team: str
    owner: str
    unfinished: str
    runs: list[RunContent]
    files: list[FileContent]


@dataclass(frozen=True)
class BundledRun:
    """A run as it was. `origin` names it wherever it goes: its first store's id, and its id there.

    `start` and `end` are in ms since 1970; `links` has the ids of other runs by the tag that holds
    them; `files` are its artifacts by path.
    """

    id: str
    origin: str
    kind: BundledKind
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
        """A digest of all that the run holds; a run with the same one is not imported again."""
        return of_json(_plain(self))


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds and where it comes from. `study` is the name of the study or import: its
    run comes first in `runs`, levels and trials follow.

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


def body(manifest: Manifest) -> dict[str, object]:
    """A manifest as it is written, with its digest."""
    content: dict[str, object] = {
        "format": FORMAT,
        **vars(manifest),
        "runs": [_plain(run) for run in manifest.runs],
        "files": _list_files(manifest.runs),
    }
    return content | {"digest": of_json(content)}


def parse(content: ManifestContent) -> Manifest:
    """The manifest. Raises Damaged, or what a wrong type raises, if it contradicts itself, and
    BadInput if a newer version of the project wrote it."""
    version = int(content["format"])
    if version > FORMAT:
        raise BadInput(
            f"The bundle has format {version}, which this version of the project does not know: "
            f"install {content.get('lrm')} or newer."
        )
    rest = {name: value for name, value in content.items() if name != "digest"}
    need(content["digest"] == of_json(rest), f"{MANIFEST} has another checksum")
    runs = tuple(map(_run, content["runs"]))
    need(content["files"] == _list_files(runs), "its list of files is not that of its runs")
    need(len({run.id for run in runs}) == len(runs), "a run appears twice")
    homes = [run.kind in HOMES for run in runs]
    need(homes.count(True) == 1, "it does not hold one study or import")
    need(homes[0], "the study is not its first run")
    return Manifest(
        study=str(content["study"]),
        lrm=str(content["lrm"]),
        exported=str(content["exported"]),
        store=str(content["store"]),
        store_id=str(content["store_id"]),
        experiments=_texts(content["experiments"]),
        team=str(content["team"]),
        owner=str(content["owner"]),
        unfinished=str(content["unfinished"]),
        runs=runs,
    )


def _run(content: RunContent) -> BundledRun:
    need(bool(_ID.fullmatch(content["id"])), f"{content['id']!r} is no run's id")
    need(bool(_ORIGIN.fullmatch(content["origin"])), f"{content['origin']!r} is no origin")
    need(content["kind"] in get_args(BundledKind), f"{content['kind']!r} is no kind of run")
    need(content["status"] in get_args(Status), f"{content['status']!r} is no status")
    links = _texts(content["links"])
    need(set(links) <= set(LINKS), "it links runs in a way that is not known")
    for name in (*content["params"], *content["tags"], *content["metrics"]):
        need(bool(_KEY.fullmatch(name)), f"{name!r} names no param, tag or metric")
    files = {path: File(int(size), sha) for path, (size, sha) in content["files"].items()}
    for path, known in files.items():
        need(is_safe(path), f"the name {path!r} is not safe")
        need(bool(_SHA256.fullmatch(known.sha256)), f"{path} has no sha256")
    return BundledRun(
        id=content["id"],
        origin=content["origin"],
        kind=content["kind"],
        name=str(content["name"]),
        status=content["status"],
        start=int(content["start"]),
        end=int(content["end"]),
        params=_texts(content["params"]),
        tags=_texts(content["tags"]),
        links=links,
        metrics={
            name: [Value(int(step), float(value), int(time)) for step, value, time in values]
            for name, values in content["metrics"].items()
        },
        files=files,
    )


def _texts(content: Mapping[str, object]) -> dict[str, str]:
    texts = {}
    for name, value in content.items():
        if not isinstance(value, str):
            raise Damaged(f"the value of {name} is no text")
        texts[name] = value
    return texts


def _plain(run: BundledRun) -> dict[str, object]:
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


def _list_files(runs: Sequence[BundledRun]) -> list[dict[str, object]]:
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
