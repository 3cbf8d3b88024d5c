"""The house rules that a reader relies on: who imports whom, what is never done, what is where."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    p for name in ("lrm", "tracking", "experiments") for p in ROOT.glob(f"{name}/**/*.py")
)
LEAVES = ("lrm.benchmarks", "lrm.compression", "lrm.engines")
FOUNDATION = (
    "lrm.records",
    "lrm.contracts",
    "lrm.errors",
    "lrm.replies",
    "lrm.digests",
    "lrm.files",
    "lrm.formats",
)


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_imports_go_one_way(path: Path) -> None:
    own, seen = module(path), imports(path)
    ours = {name for name in seen if inside(name, "lrm", "tracking", "experiments")}
    if inside(own, "lrm"):
        assert not {name for name in ours if not inside(name, "lrm")}
    if inside(own, "tracking"):
        assert not {name for name in ours if inside(name, "experiments")}
    if not inside(own, "tracking"):
        assert not {name for name in seen if inside(name, "mlflow")}
    if not inside(own, "experiments"):
        assert not {name for name in seen if inside(name, "optuna")}
    if own in ("lrm.records", "lrm.contracts", "lrm.errors", "lrm.replies"):
        assert not {name for name in ours if not inside(name, *FOUNDATION)}
    for leaf in LEAVES:
        if inside(own, leaf):
            allowed = (*FOUNDATION, leaf)
            assert not {n for n in ours if not inside(n, *allowed) and n != "lrm"}


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_nothing_unpickles_or_runs_remote_code(path: Path) -> None:
    seen = imports(path)
    assert not {n for n in seen if inside(n, "pickle", "dill", "joblib", "cloudpickle", "shelve")}
    text = path.read_text()
    assert "torch.load" not in text
    assert "trust_remote_code=True" not in text


def test_lrm_is_light_to_import() -> None:
    code = (
        "import sys, lrm, lrm.records, lrm.contracts, lrm.registry; "
        "print([m for m in ('torch', 'transformers', 'datasets', 'mlflow', 'optuna', 'numpy') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_readme_tree_is_the_real_one() -> None:
    """Every file that git tracks has its line, and every line its file."""
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout.split()
    block = re.search(r"```tree\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert block, "README.md has no ```tree block"
    told, stack = set(), []
    for line in block[1].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        stack = [*stack[:depth], name.rstrip("/")]
        if not name.endswith("/"):
            told.add("/".join(stack))
    hidden = {path for path in tracked if path.startswith("lrm/tiny/models/")}
    assert told == set(tracked) - hidden


def test_ci_runs_the_readme_command() -> None:
    readme = (ROOT / "README.md").read_text()
    command = re.search(r"```test\n(.*?)\n```", readme, re.S)
    assert command, "README.md has no ```test block"
    assert command[1] in (ROOT / ".ci" / "run").read_text()
