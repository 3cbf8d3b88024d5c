"""The behaviour suite of the Quantizer contract, as far as it needs none of their libraries: every
quantizer goes through it. What they write is tested in `test_quantize.py` and `test_pack.py`."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from experiments.cli.quantization_settings import QuantizationSettings
from experiments.cli.quantizer_choice import parse_quantizer
from lrm import formats, registry
from lrm.contracts.quantizer import Quantizer
from lrm.errors import BadInput
from lrm.records.model import Calibration, Checkpoint

CALIBRATION = Calibration("made up", ((1, 2, 3),))
DENSE = "f16"


@pytest.fixture(params=registry.QUANTIZERS, scope="module")
def kind(request: pytest.FixtureRequest) -> Any:
    return registry.quantizer(request.param)


def methods(kind: Any) -> list[Quantizer]:
    """One at each level that is searched unless some are named."""
    return [kind.of(level, CALIBRATION) for level in kind.searched if level != DENSE]


def test_it_is_frozen_and_named(kind: Any) -> None:
    assert registry.QUANTIZERS[kind.name].endswith(f":{kind.__name__}")
    names = [field.name for field in fields(kind)]
    assert set(kind.level_fields) <= set(names)
    for method in methods(kind):
        assert method.name == kind.name
        with pytest.raises(FrozenInstanceError):
            setattr(method, names[0], 1)


def test_a_level_is_the_same_however_it_is_reached(kind: Any) -> None:
    made = methods(kind)
    for method in made:
        for again in (kind.of(method.level, CALIBRATION), made[0].at(method.level)):
            assert again == method
            assert again.params() == method.params()
    assert len({method.level for method in made}) == len(made) >= 2


def test_params_can_be_logged_and_differ_with_the_level(kind: Any) -> None:
    logged = [json.dumps(dict(method.params())) for method in methods(kind)]
    assert len(set(logged)) == len(logged)
    for method, text in zip(methods(kind), logged, strict=True):
        params = json.loads(text)
        assert params == method.params()
        assert (params["method"], params["method_version"]) == (kind.name, kind.version)


def test_what_is_no_level_is_refused(kind: Any) -> None:
    for level in ("", "no such level", "-1"):
        with pytest.raises(BadInput, match=r"level|recipe"):
            kind.of(level, CALIBRATION)


def test_what_the_level_says_is_no_option(kind: Any) -> None:
    levels = [level for level in kind.searched if level != DENSE]
    assert parse_quantizer(kind.name, levels[:1]).name == kind.name
    for name in kind.level_fields:
        with pytest.raises(BadInput, match="option"):
            parse_quantizer(f"{kind.name}:{name}=1", levels)


def test_what_is_quantized_already_is_refused(kind: Any) -> None:
    for method in methods(kind):
        with pytest.raises(BadInput, match=r"dense|already"):
            method.check(Checkpoint(Path("model.gguf"), "", format="gguf"))


def test_a_search_knows_its_levels_and_its_engine(kind: Any) -> None:
    settings = QuantizationSettings(method=kind.name)
    assert settings.recipes == tuple(kind.searched)
    assert DENSE in settings.recipes
    loads = registry.engine(settings.engine).formats
    assert kind.format in loads or (kind.format in formats.PACKED and "dense" in loads)
