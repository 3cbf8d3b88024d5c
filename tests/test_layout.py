"""The house rules that a reader relies on: imports, sizes, what is never done."""

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("lrm", "tracking", "experiments")
SOURCES = sorted(path for name in PACKAGES for path in ROOT.glob(f"{name}/**/*.py"))

FILE_LINES, FUNCTION_LINES, USES_OF_ANY = 300, 60, 100

# What the three kinds of plug-in build on. They meet in none of these.
BASE = {"records", "contracts", "errors", "digests", "files", "formats", "replies"} | {
    "model_config",
    "network",
    "signals",
    "weight_files",
    "stored_tensors",
    "tokenizers",
}
# A model is checked once, when it is opened; what runs it does not check it again.
CHECKS = {"model_checks", "model_sizes", "config_fields", "expected_weights", "tokenizer_checks"}
SHARED = BASE | CHECKS | {"registry", "tables"}
# A room of lrm, and what else of lrm it may import.
ARROWS = {
    "benchmarks": BASE,
    # A server's tokenizer comes from no checkpoint.
    "engines": BASE | {"tokenizer_checks"},
    "compression": BASE | CHECKS,
    "stats": SHARED,
    "generation": SHARED | {"benchmarks"},  # calibration reads its texts as benchmarks read theirs
    "scoring": SHARED | {"generation", "stats"},
    "analysis": SHARED | {"scoring", "stats"},
    "report": SHARED | {"analysis", "scoring", "stats"},
    # Trains the embedded models, and scores them as a search would.
    "tiny": SHARED | {"benchmarks", "engines", "generation", "scoring"},
}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in SOURCES}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every name that a file imports, at its top or inside a function; not what only types need."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (name for other in node.orelse for name in imports(other))
        else:
            yield from imports(node)


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


IMPORTS = {name: set(imports(tree)) for name, tree in TREES.items()}
GRAPH = {name: (names & set(MODULES)) - {name} for name, names in IMPORTS.items()}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name: str) -> None:
    """experiments -> tracking -> lrm; MLflow in tracking and Optuna in experiments alone."""
    ours = {other for other in IMPORTS[name] if inside(other, *PACKAGES)}
    if inside(name, "lrm"):
        assert not {other for other in ours if not inside(other, "lrm")}
    if inside(name, "tracking"):
        assert not {other for other in ours if inside(other, "experiments")}
    if not inside(name, "tracking"):
        assert not {other for other in IMPORTS[name] if inside(other, "mlflow")}
    if not inside(name, "experiments"):
        assert not {other for other in IMPORTS[name] if inside(other, "optuna")}


def room(name: str) -> str:
    """`engines` of `lrm.engines.vllm.wire`, `records` of `lrm.records`."""
    return name.split(".")[1]


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("lrm.")])
def test_rooms_of_lrm_import_what_they_may(name: str) -> None:
    allowed = ARROWS.get(room(name), SHARED) | {room(name)}
    assert {room(other) for other in GRAPH[name] if other != "lrm"} <= allowed


def test_every_room_of_lrm_has_its_arrows() -> None:
    assert {room(name) for name in MODULES if name.startswith("lrm.")} == {*ARROWS, *SHARED}


def assert_no_cycle(graph: Mapping[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"they import one another: {' -> '.join(error.args[1])}")


def test_no_files_import_one_another() -> None:
    """Not even inside functions."""
    assert_no_cycle(GRAPH)


def test_no_folders_import_one_another() -> None:
    folders: defaultdict[str, set[str]] = defaultdict(set)
    for name, others in GRAPH.items():
        own = folder(name)
        folders[own] |= {folder(other) for other in others} - {own}
    assert_no_cycle(folders)


def folder(name: str) -> str:
    """`lrm.engines`, however deep below it; files at the top of a package stand for themselves."""
    parts = name.split(".")
    return ".".join(parts[:2])


def test_files_are_short() -> None:
    sizes = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert not {name: size for name, size in sizes.items() if size > FILE_LINES}


def test_functions_are_short() -> None:
    sizes = [
        (f"{name}.{function.name}", (function.end_lineno or 0) - function.lineno + 1)
        for name, tree in TREES.items()
        for function in functions(tree)
    ]
    assert not [(name, size) for name, size in sizes if size > FUNCTION_LINES]


def test_no_class_name_stands_twice() -> None:
    names = Counter(
        node.name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert not [name for name, count in names.items() if count > 1]


def test_any_is_rare() -> None:
    """It switches the type checker off; untyped libraries need some at their boundary."""
    uses = {name: len(re.findall(r"\bAny\b", MODULES[name].read_text())) for name in MODULES}
    most = sorted(uses, key=lambda name: -uses[name])[:12]
    assert sum(uses.values()) <= USES_OF_ANY, {name: uses[name] for name in most}


@pytest.mark.parametrize("name", MODULES)
def test_nothing_unpickles_or_runs_remote_code(name: str) -> None:
    unsafe = ("pickle", "dill", "joblib", "cloudpickle", "shelve")
    assert not {other for other in IMPORTS[name] if inside(other, *unsafe)}
    text = MODULES[name].read_text()
    assert "torch.load" not in text
    assert "trust_remote_code=True" not in text


@pytest.mark.parametrize("name", MODULES)
def test_text_is_utf8_whatever_the_locale(name: str) -> None:
    """Models' files are. In a locale that is not, a chat template would be no text at all."""
    texts = [
        call
        for call in ast.walk(TREES[name])
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("read_text", "write_text")
    ]
    assert all(any(word.arg == "encoding" for word in call.keywords) for call in texts)


def test_lrm_is_light_to_import() -> None:
    code = (
        "import sys, lrm, lrm.records.model, lrm.contracts.engine, lrm.registry; "
        "print([m for m in ('torch', 'transformers', 'datasets', 'mlflow', 'optuna', 'numpy') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
