"""A study or an import of a store, written to a bundle or brought in from one."""

from __future__ import annotations

from pathlib import Path

from tracking import address, bundle_export, bundle_import
from tracking.bundle_import import Arrival
from tracking.bundles import Bundle, ProgressCallback
from tracking.manifest import Manifest
from tracking.names import check_name
from tracking.provenance import redact
from tracking.store import Store


def export(
    store: Store, run_id: str, out: Path, unfinished: bool, on_progress: ProgressCallback
) -> Manifest:
    """Writes the study or import of that run into the bundle `out`.

    Raises BadInput for an unknown run, for a part of a study, and for an unfinished study or
    import if `unfinished` is not given.
    """
    with store.connected() as backend:
        home = backend.run(run_id)
        return bundle_export.export(backend, redact(store.uri), home, out, unfinished, on_progress)


def bring_in(
    store: Store, bundle: Bundle, name: str | None, on_progress: ProgressCallback
) -> Arrival:
    """Makes the runs of a bundle, or completes them; runs that are here already stay unchanged.

    `name` is the study's name here, its own if left out. Processes that share the folder of the
    store import one after the other. Raises BadInput if another study has that name, and if a
    process elsewhere is importing the same one.
    """
    check_name(name or bundle.manifest.study, "a study")
    database = None if address.is_server(store.uri) else address.sqlite_path(store.uri)
    folder = database.parent if database else store.root / "mlruns"
    with store.connected() as backend:
        return bundle_import.bring_in(backend, bundle, folder, name, on_progress)
