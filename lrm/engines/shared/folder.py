"""Checks of a Hugging Face folder before any weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping

from lrm import formats
from lrm.contracts.engine import EngineKind
from lrm.engines.shared.loads import check_loads
from lrm.model_config import read_config
from lrm.records.model import Checkpoint


def check_folder(checkpoint: Checkpoint, engine: EngineKind) -> Mapping[str, object]:
    """Returns the config; raises BadInput unless this is a folder with weights, dense or packed,
    that the engine loads. Whether all of them are there was checked when the folder was opened
    (`lrm.model_checks`)."""
    path = checkpoint.path
    check_loads(path, checkpoint.format, engine)
    config = read_config(path)
    stored = formats.of_config(config, path)
    check_loads(path, stored, engine)
    return config
