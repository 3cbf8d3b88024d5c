"""A study in one file, to be carried from one store to another.

A bundle is a zip: `manifest.json`, and every artifact as runs/<run id>/<path>. Members are stored
as they are, never deflated, since artifacts are compressed already; so a bundle cannot unpack to
more than its own size. The manifest holds size and sha256 of each file, and its own digest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import BinaryIO

from lrm.errors import BadInput
from lrm.files import atomic
from tracking.manifest import (
    MANIFEST,
    BundledRun,
    Damaged,
    File,
    Manifest,
    body,
    is_safe,
    member,
    need,
    parse,
)

CHUNK = 1 << 20
FIXED_TIME = (1980, 1, 1, 0, 0, 0)

ProgressCallback = Callable[[str, int, int], None]
"""Is called with what is being done, how many are done, and how many there are."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was checked from end to end."""

    path: Path
    manifest: Manifest

    @contextmanager
    def unpacked(self, run: BundledRun) -> Iterator[Path]:
        """A folder with the run's artifacts, checked once more on their way."""
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            with self.path.open("rb") as file, _reading(self.path):
                archive = zipfile.ZipFile(file)
                for path, known in run.files.items():
                    target = folder.joinpath(*PurePosixPath(path).parts)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("wb") as out:
                        _copy(archive, member(run.id, path), known, out)
            yield folder


@contextmanager
def new_bundle(path: Path) -> Iterator[Writer]:
    """A writer of the bundle `path`, which is there when the block ends, and not if it raises."""
    with atomic(path) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        yield Writer(archive)


@dataclass(frozen=True)
class Writer:
    """Puts runs into a bundle, one after the other; `finish` writes the manifest."""

    _archive: zipfile.ZipFile

    def add(self, run_id: str, folder: Path) -> dict[str, File]:
        """Takes every file under `folder` as an artifact of the run; returns them by path."""
        files = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            if not is_safe(name):
                raise BadInput(
                    f"Run {run_id} has an artifact {name!r}, which not every system can store: "
                    "give it another name, then export again."
                )
            info = zipfile.ZipInfo(member(run_id, name), FIXED_TIME)
            info.file_size = path.stat().st_size
            digest = hashlib.sha256()
            with path.open("rb") as source, self._archive.open(info, "w") as target:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
            files[name] = File(info.file_size, digest.hexdigest())
        return files

    def finish(self, manifest: Manifest) -> None:
        text = json.dumps(body(manifest), indent=1)
        self._archive.writestr(zipfile.ZipInfo(MANIFEST, FIXED_TIME), text)


def open_bundle(path: Path, on_progress: ProgressCallback) -> Bundle:
    """Checks a whole bundle: names, sizes and checksums of all that is in it.

    Raises BadInput for a file that is no bundle, that was damaged or changed, or that a newer
    version of the project wrote.
    """
    if not path.is_file():
        raise BadInput(f"There is no file {path}: give a bundle that `export` wrote.")
    with path.open("rb") as file, _reading(path):
        archive = zipfile.ZipFile(file)
        members = _members(archive, path.stat().st_size)
        need(MANIFEST in members, f"it has no {MANIFEST}")
        manifest = parse(json.loads(archive.read(MANIFEST)))
        listed = {
            member(run.id, name): known
            for run in manifest.runs
            for name, known in run.files.items()
        }
        for name in {*listed, MANIFEST} ^ set(members):
            need(name in members, f"{name} is missing")
            need(name in listed, f"{name} is not in its manifest")
        for done, (name, known) in enumerate(listed.items(), 1):
            _copy(archive, name, known, None)
            on_progress("checking", done, len(listed))
    return Bundle(path, manifest)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what a damaged bundle raises into a sentence."""
    try:
        yield
    except Damaged as error:
        raise _refused(path, str(error)) from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise _refused(path, f"it is no whole zip: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # what seeking to before the file says
            raise
        raise _refused(path, "its directory points outside of it") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _refused(path, "its manifest cannot be read") from error


def _refused(path: Path, detail: str) -> BadInput:
    return BadInput(
        f"{path} is damaged or was changed ({detail}): get the bundle again, or export it anew."
    )


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members of the zip by name; their contents are not read yet."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        need(is_safe(info.orig_filename), f"the name {info.orig_filename!r} is not safe")
        need(info.filename not in members, f"{info.filename} appears twice")
        need(not stat.S_ISLNK(info.external_attr >> 16), f"{info.filename} is a link")
        stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        need(stored and not info.flag_bits & 1, f"{info.filename} was packed by something else")
        members[info.filename] = info
    need(sum(info.file_size for info in members.values()) <= size, "its members overlap")
    parents = {str(parent) for name in members for parent in PurePosixPath(name).parents}
    need(not parents & set(members), "a file has the name of a folder")
    return members


def _copy(archive: zipfile.ZipFile, name: str, known: File, out: BinaryIO | None) -> None:
    """Reads a member in pieces, writes it to `out` if given, and checks it by the manifest."""
    info = archive.getinfo(name)
    need(info.file_size == known.size, f"{name} has another size than its manifest says")
    digest = hashlib.sha256()
    with archive.open(info) as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            if out:
                out.write(chunk)
    need(digest.hexdigest() == known.sha256, f"{name} has another checksum")
