"""The READMEs: their trees are real, their links lead somewhere, and what they run is run."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
LINES = 150

# Folders whose files need no lines of their own: one line tells of all of them.
SUMMARISED = (
    "lrm/tiny/models",
    *(
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("tests/*/")
        if path.name != "support"
    ),
)
# Files that the line of their folder stands for.
OF_THE_FOLDER = ("__init__.py", "README.md")


def tracked() -> list[PurePosixPath]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout.split()
    return [PurePosixPath(name) for name in listed if os.path.lexists(ROOT / name)]


def tree(page: PurePosixPath) -> str | None:
    block = re.search(r"```tree\n(.*?)```", (ROOT / page).read_text(), re.S)
    return block[1] if block else None


def entries(page: PurePosixPath) -> Iterator[PurePosixPath]:
    """What the tree of a page has lines for; every line says something."""
    stack: list[str] = []
    for line in (tree(page) or "").splitlines():
        name, _, words = line.strip().partition(" ")
        assert words.strip(), f"{page} says nothing of {name}"
        depth = (len(line) - len(line.lstrip())) // 2
        stack = [*stack[:depth], name.rstrip("/")]
        yield page.parent.joinpath(*stack)


def test_trees_are_the_real_one() -> None:
    """Every file and folder has its line in the nearest tree above it, and every line its file."""
    paths = tracked()
    pages = {p.parent: p for p in paths if p.name == "README.md" and tree(p)}

    def nearest(folder: PurePosixPath) -> PurePosixPath:
        return next(pages[above] for above in (folder, *folder.parents) if above in pages)

    expected = set()
    for path in paths:
        inner = [folder for folder in path.parents if folder != PurePosixPath(".")]
        summaries = [folder for folder in inner if str(folder) in SUMMARISED]
        shown = [folder for folder in inner if not set(folder.parents) & set(summaries)]
        expected |= {(nearest(folder.parent), folder) for folder in shown}
        if not summaries and (path.name not in OF_THE_FOLDER or not inner):
            expected.add((nearest(path.parent), path))
    told = [(page, entry) for page in pages.values() for entry in entries(page)]
    assert len(told) == len(set(told))
    assert set(told) - expected == set(), "lines without a file"
    assert expected - set(told) == set(), "files without a line"


def test_the_readme_is_a_page_or_two() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= LINES


def test_links_lead_somewhere() -> None:
    broken = []
    for page in tracked():
        if page.suffix == ".md":
            text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.S)
            for link in re.findall(r"\]\(([^)]+)\)", text):
                file, _, heading = link.partition("#")
                target = ROOT / page.parent / file if file else ROOT / page
                if "://" not in link and not (target.exists() and has(target, heading)):
                    broken.append(f"{page}: {link}")
    assert not broken


def has(page: Path, heading: str) -> bool:
    """Whether a page has a heading under that address, as GitHub makes addresses."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(), re.M) if heading else []
    made = [re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines]
    return not heading or heading in made


def test_ci_runs_the_readmes_commands() -> None:
    blocks = re.findall(r"```(?:test|all)\n(.*?)\n```", (ROOT / "README.md").read_text(), re.S)
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert len(blocks) == 1, "README.md has no ```test block"
    assert set(blocks) <= set(script)


def test_every_tier_is_run() -> None:
    """What the default leaves out is what `.ci/run` runs after it."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    tiers = " or ".join(marker.partition(":")[0] for marker in options["markers"])
    assert f'-m "not ({tiers})"' in options["addopts"]
    assert f"-m '{tiers}'" in (ROOT / ".ci" / "run").read_text()


def test_each_dependency_names_a_file_that_needs_it() -> None:
    named = re.findall(
        r"(?:lrm|tracking|experiments|tests)/[\w/.]*[\w/]", (ROOT / "pyproject.toml").read_text()
    )
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / name).exists()]
