"""Adding a benchmark, a pruner, a quantizer or an engine takes one file and one registry line.

The smallest of each (`tests/support/toys/`) are registered here, and nothing else is changed: they
go through the behaviour suites of all others, and through a search's parts, from flags to points.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from experiments.cli.engine_choice import parse_engine
from experiments.cli.method_choice import Choice, parse_method
from experiments.cli.progress import Progress
from experiments.cli.quantization_settings import QuantizationSettings
from experiments.cli.quantizer_choice import parse_quantizer
from experiments.cli.settings import Settings
from experiments.models.resolve import Model
from experiments.search.engine_cache import EngineCache
from experiments.search.level_evaluator import LevelEvaluator
from lrm import registry
from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.contracts.benchmark import Benchmark
from lrm.contracts.engine import Engine
from lrm.records.model import Checkpoint, LevelKey
from lrm.records.point import Budget
from lrm.records.reply import Decoding
from tests.benchmarks import test_benchmarks as benchmark_suite
from tests.compression import test_methods as method_suite
from tests.compression import test_quantizers as quantizer_suite
from tests.compression.test_methods import checkpoint  # noqa: F401  the suite's fixture
from tests.engines import test_engines as engine_suite
from tests.support.models import SMALLEST

ADDED = {
    "BENCHMARKS": ("letters", "tests.support.toys.benchmark:LETTERS"),
    "PRUNERS": ("columns", "tests.support.toys.pruner:Columns"),
    "QUANTIZERS": ("rounding", "tests.support.toys.quantizer:Rounding"),
    "ENGINES": ("counting", "tests.support.toys.engine:CountingEngine"),
}
TOYS = Path(__file__).parent / "support" / "toys"


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    """One registry line each, and no more."""
    with pytest.MonkeyPatch.context() as patch:
        for table, (name, entry) in ADDED.items():
            patch.setitem(getattr(registry, table), name, entry)
        yield


# Through the suites of all others


def shared_tests(suite: ModuleType, subject: str) -> dict[str, Any]:
    """The tests of a suite that take its subject, and nothing else but what they are given."""
    tests = {}
    for name, test in vars(suite).items():
        if name.startswith("test_"):
            given = [m.args[0] for m in getattr(test, "pytestmark", []) if m.name == "parametrize"]
            if set(inspect.signature(test).parameters) == {subject, *given}:
                tests[name] = staticmethod(test)
    assert len(tests) > 6
    return tests


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    return registry.benchmark("letters")


@pytest.fixture(scope="module")
def kind() -> Any:
    return registry.quantizer("rounding")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    choice = parse_engine(f"counting:thoughts=40,context={engine_suite.CONTEXT}")
    with choice.made(Checkpoint(Path("nowhere"), "test")) as made:
        yield made


class TestThePruner(method_suite.TestEveryMethod):
    @pytest.fixture
    def make(self) -> Any:
        return registry.pruner("columns")


TestTheBenchmark = type("TestTheBenchmark", (), shared_tests(benchmark_suite, "benchmark"))
TestTheQuantizer = type("TestTheQuantizer", (), shared_tests(quantizer_suite, "kind"))
TestTheEngine = type("TestTheEngine", (), shared_tests(engine_suite, "engine"))


# Through a search's parts


def test_the_flags_know_them() -> None:
    settings = Settings(benchmarks=("letters",), method="columns:reverse=1", engine="counting")
    assert settings.method == "columns:reverse=1"
    assert parse_method("columns:reverse=1", [0.5]).options == {"reverse": 1}
    assert QuantizationSettings(method="rounding").recipes == ("f16", "64", "8")
    assert parse_quantizer("rounding:scale=0.5", ["8"]).options == {"scale": 0.5}
    assert parse_engine("counting:thoughts=3").options == {"thoughts": 3}


@pytest.mark.parametrize(
    ("method", "keys"),
    [
        (lambda: parse_method("columns"), [0.0, 0.5]),
        (lambda: parse_quantizer("rounding", ["8"]), ["f16", "8"]),
    ],
    ids=["pruner", "quantizer"],
)
def test_a_search_measures_levels_of_them(
    method: Any, keys: list[LevelKey], tmp_path: Path, benchmark: Benchmark
) -> None:
    choice: Choice = method()
    dense = open_checkpoint(SMALLEST)
    choice.check(dense)
    with EngineCache(parse_engine("counting:thoughts=40")) as engine:
        evaluator = LevelEvaluator(
            folder=tmp_path,
            checkpoints=tmp_path / "checkpoints",
            model=Model("smallest", dense, 32, embedded=True),
            method=choice,
            engine_cache=engine,
            questions={benchmark: benchmark.load()},
            decoding=Decoding(max_tokens=400, answer_tokens=32),
            track="paper",
            closing="plain",
            keys=keys,
            budgets=[8, 350],
            progress=Progress(0),
        )
        levels = {key: evaluator.measure(key) for key in keys}
        params = [evaluator.method_params(key) for key in keys]
    assert params[0] == {"method": "none", choice.axis: keys[0]}
    assert (params[1]["method"], params[1]["method_version"]) == (choice.name, 1)
    made = levels[keys[1]].checkpoint
    assert made.lineage[0].partition(":")[0] == choice.name
    for name in Weights(dense.path).linears():
        assert not torch.equal(Weights(dense.path).read(name), Weights(made.path).read(name))
    for level in levels.values():
        point = level.point(Budget(350))
        assert 0 < point.accuracy.value < 1  # one reply in five never answers
        assert level.metrics(Budget(350))["accuracy/letters"] == point.accuracy.value
        figure = level.readings["letters"].first
        assert figure is not None
        assert (figure.benchmark, figure.share.value) == ("letters", point.accuracy.value)


# What adding takes


def test_a_file_and_a_line_each() -> None:
    files = {path.stem for path in TOYS.glob("*.py")} - {"__init__"}
    modules = [entry.partition(":")[0] for _, entry in ADDED.values()]
    assert {module.rpartition(".")[2] for module in modules} == files
    assert len(modules) == len(set(modules)) == 4


def test_every_entry_is_in_its_suite() -> None:
    """Benchmarks and quantizers are read from the registry by their suites."""
    here = {table: set(getattr(registry, table)) - {ADDED[table][0]} for table in ADDED}
    pruners = {method_suite.METHODS[name](0.5).name for name in method_suite.METHODS}
    assert pruners == here["PRUNERS"]
    engines = {getattr(name, "values", (name,))[0] for name in engine_suite.ENGINES}
    assert here["ENGINES"] <= engines | {"server"}
