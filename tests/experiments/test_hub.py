"""The way online, against a real server on this machine that answers as the hub does."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import pytest

import lrm.benchmarks
from lrm import registry
from lrm.benchmarks import aime, folio, musique, temporal
from lrm.benchmarks.source import Source
from tests.support import small_data
from tests.support.hub_mirror import CLOSED, HubMirror, outcomes

HUB = {
    "aime": aime.SOURCE,
    "folio": folio.SOURCE,
    "temporal": temporal.SOURCE,
    "musique-dev": musique.WHOLE,
    "musique-dev-open": musique.WHOLE_WITH_PARAGRAPHS,
}
REVISIONS = {source.hub: str(source.revision) for source in HUB.values()}
MUSIQUE = (musique.WHOLE.hub, str(musique.WHOLE.revision))
DEV = str(musique.WHOLE.data_file)

BBH = ("navigate", "temporal_sequences")

LOAD = """
import dataclasses, json, sys
from lrm import registry
from lrm.benchmarks import musique, source
from lrm.benchmarks.load import load_rows
from lrm.errors import BadInput

def load(name):
    if name.startswith("{"):
        return [dict(row.values) for row in load_rows(source.Source(**json.loads(name)))]
    if name.startswith("http"):
        there = dataclasses.replace(musique.HUNDRED, url=name)
        benchmark = dataclasses.replace(musique.MUSIQUE, source=there)
    else:
        benchmark = registry.benchmark(name)
    return [dataclasses.asdict(question) for question in benchmark.load()]

def outcome(name):
    try:
        return load(name)
    except BadInput as error:
        return str(error)

print(json.dumps([outcome(name) for name in sys.argv[1:]]))
"""
"""Loads benchmarks by name, the MuSiQue questions from an address, or the rows of a Source."""


def run(home: Path, arguments: Sequence[str], program: str = LOAD, **environment: str) -> list[Any]:
    return outcomes(home, arguments, program, **environment)


def refusals(home: Path, names: Sequence[str], **environment: str) -> list[str]:
    said = run(home, names, **environment)
    assert all(isinstance(outcome, str) and "\n" not in outcome for outcome in said)
    return said


def remedy(name: str) -> str:
    file = {**HUB, "musique": musique.HUNDRED}[name].file
    return f"; set LRM_DATA to a folder that holds {file}, or "


def bbh_config(name: str) -> str:
    files = f"  data_files:\n  - split: test\n    path: {name}/test-*\n"
    return f"- config_name: {name}\n{files}"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data sets as they lie on the hub; a hub column has one type, so two values are recast."""
    folder = tmp_path_factory.mktemp("hub")
    problems = [
        {**row, "Answer": int(str(row["Answer"]))} for row in small_data.ROWS[small_data.AIME]
    ]
    stories = [
        {**row, "premises": p if isinstance(p := row["premises"], str) else "\n".join(p)}
        for row in small_data.ROWS[small_data.FOLIO]
    ]
    texts = {
        "Maxwell-Jia/AIME_2024/README.md": "---\nlicense: mit\nlanguage:\n- en\n---\n# Problems\n",
        "tasksource/folio/README.md": "---\nlicense: cc\n---\n",
        "tasksource/folio/folio.txt": "The script of old.\n",
        "tasksource/folio/folio_v2_train.jsonl": small_data.jsonl(stories[:1]),
        "tasksource/folio/folio_v2_validation.jsonl": small_data.jsonl(stories),
        "lukaemon/bbh/README.md": "---\nconfigs:\n" + "".join(map(bbh_config, BBH)) + "---\n",
        f"{MUSIQUE[0]}/.gitattributes": "",
        f"{MUSIQUE[0]}/musique_ans_v1.0_train.jsonl": small_data.jsonl([{"id": "2hop__3_4"}]),
        f"{MUSIQUE[0]}/{DEV}": small_data.jsonl(small_data.ROWS[small_data.MUSIQUE]),
        f"{MUSIQUE[0]}/bad/random_100.json": json.dumps([{"id": "2hop__1_2"}]),
        f"{MUSIQUE[0]}/100/random_100.json": json.dumps(small_data.ROWS[small_data.MUSIQUE]),
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    tables = {
        "Maxwell-Jia/AIME_2024/aime_2024_problems.parquet": problems,
        "lukaemon/bbh/navigate/test-00000-of-00001.parquet": [{"input": "?", "target": "No"}],
        "lukaemon/bbh/temporal_sequences/test-00000-of-00001.parquet": small_data.ROWS[
            small_data.TEMPORAL
        ],
    }
    for name, rows in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list(rows).to_parquet(folder / name)
    return folder


@pytest.fixture(scope="module")
def mirror(hub: Path) -> Iterator[HubMirror]:
    with HubMirror(hub, REVISIONS) as server:
        yield server


def local(name: str, folder: Path) -> list[dict[str, object]]:
    """The questions from a folder that LRM_DATA names."""
    small_data.write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRM_DATA", str(folder))
        loaded = registry.benchmark(name).load()
    return [json.loads(json.dumps(asdict(question))) for question in loaded]


def test_every_hub_data_set_is_pinned_to_a_commit() -> None:
    modules = [
        importlib.import_module(f"lrm.benchmarks.{module.name}")
        for module in pkgutil.iter_modules(lrm.benchmarks.__path__)
    ]
    values = [value for module in modules for value in vars(module).values()]
    sources = [value for value in values if isinstance(value, Source) and value.hub]
    assert len(sources) >= len(HUB)
    for source in sources:
        assert re.fullmatch("[0-9a-f]{40}", source.revision or ""), source


@pytest.mark.slow
def test_the_hub_gives_the_questions_of_the_folder_and_then_the_copy_does(
    mirror: HubMirror, tmp_path: Path
) -> None:
    home = tmp_path / ".cache" / "test"
    expected = [local(name, tmp_path / "folder") for name in HUB]
    assert run(home, list(HUB), HF_ENDPOINT=mirror.url) == expected
    seen = len(mirror.requests)
    assert run(home, list(HUB), HF_ENDPOINT=CLOSED) == expected
    assert run(home, list(HUB), HF_ENDPOINT=mirror.url, HF_HUB_OFFLINE="1") == expected
    assert len(mirror.requests) == seen


@pytest.mark.slow
def test_the_mirror_serves_datasets_by_itself(mirror: HubMirror, tmp_path: Path) -> None:
    """It was not made to fit this project's own requests."""
    program = (
        "import json, sys, datasets\n"
        "tables = [datasets.load_dataset(**json.loads(asked)) for asked in sys.argv[1:]]\n"
        "print(json.dumps([len(table) for table in tables]))"
    )
    asked = [
        {"path": s.hub, "name": s.config, "revision": s.revision, "split": s.split}
        for s in HUB.values()
        if not s.data_file
    ]
    sizes = run(tmp_path, list(map(json.dumps, asked)), program, HF_ENDPOINT=mirror.url)
    assert sizes == [2, 2, 2]


@pytest.mark.slow
def test_one_file_of_a_data_set_is_downloaded_alone(mirror: HubMirror, tmp_path: Path) -> None:
    source = {"file": small_data.MUSIQUE, "split": "validation", "hub": MUSIQUE[0]}
    source |= {"revision": MUSIQUE[1], "data_file": DEV}
    rows = [json.loads(json.dumps(small_data.ROWS[small_data.MUSIQUE]))]
    assert run(tmp_path, [json.dumps(source)], HF_ENDPOINT=mirror.url) == rows
    assert not any("train" in request for request in mirror.requests if MUSIQUE[0] in request)
    assert run(tmp_path, [json.dumps(source)], HF_ENDPOINT=CLOSED) == rows


@pytest.mark.slow
def test_a_file_at_an_address_is_downloaded_once(hub: Path, tmp_path: Path) -> None:
    with HubMirror(hub, dict([MUSIQUE])) as server:
        url = f"{server.url}/datasets/{MUSIQUE[0]}/resolve/{MUSIQUE[1]}/100/random_100.json"
        expected = [local("musique", tmp_path / "folder")]
        gone, bad = refusals(
            tmp_path, [url.replace("/100/", "/no/"), url.replace("/100/", "/bad/")]
        )
        assert run(tmp_path, [url]) == expected
    assert "404" in gone
    assert remedy("musique") in gone
    assert '/bad/random_100.json, row 0: the field "answer" is missing' in bad
    assert run(tmp_path, [url]) == expected
    (unreachable,) = refusals(tmp_path / "other", [url])
    assert unreachable.endswith(remedy("musique") + "get online")


@pytest.mark.slow
def test_a_login_or_a_wrong_place_is_named_with_what_to_do(hub: Path, tmp_path: Path) -> None:
    moved = {**REVISIONS, aime.SOURCE.hub: "0" * 40}
    sources = [
        {"file": "x", "hub": "no/such", "revision": "1" * 40, "split": "test"},
        {**asdict(temporal.SOURCE), "split": "nosuch"},
    ]
    names = ["aime", "folio", *map(json.dumps, sources)]
    with HubMirror(hub, moved, gated=frozenset({folio.SOURCE.hub})) as server:
        revision, gated, missing, split = refusals(tmp_path, names, HF_ENDPOINT=server.url)
        stranger = refusals(tmp_path, ["folio"], HF_ENDPOINT=server.url, HF_TOKEN="hf_x")
    assert "has no such revision" in revision
    assert remedy("aime") in revision
    page = f"{server.url}/datasets/{folio.SOURCE.hub}"
    assert gated.endswith(f"{remedy('folio')}ask for access at {page} and run `hf auth login`")
    assert stranger == [gated]
    assert "holds x, or ask for access at" in missing
    assert 'Unknown split "nosuch"' in split
    assert split.endswith("datasets--lukaemon--bbh to download it again")


@pytest.mark.slow
def test_the_copy_of_another_revision_is_no_copy(hub: Path, tmp_path: Path) -> None:
    other = "0" * 40
    with HubMirror(hub, {aime.SOURCE.hub: other}) as server:
        asked = json.dumps({**asdict(aime.SOURCE), "revision": other})
        assert len(run(tmp_path, [asked], HF_ENDPOINT=server.url)[0]) == 2
    (said,) = refusals(tmp_path, ["aime"], HF_HUB_OFFLINE="1")
    assert "no copy is here" in said


@pytest.mark.parametrize("offline", [False, True])
def test_without_the_hub_one_sentence_says_what_to_do_at_once(
    tmp_path: Path, offline: bool
) -> None:
    environment = {"HF_HUB_OFFLINE": "1"} if offline else {"HF_ENDPOINT": CLOSED}
    said = refusals(tmp_path, [*HUB, f"{CLOSED}/random_100.json"], **environment)
    way = "get online with HF_HUB_OFFLINE unset" if offline else "get online"
    for name, sentence in zip([*HUB, "musique"], said, strict=True):
        assert sentence.endswith(remedy(name) + way)


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up_soon(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        said = refusals(tmp_path, ["aime", f"{url}/random_100.json"], HF_ENDPOINT=url)
    for name, sentence in zip(["aime", "musique"], said, strict=True):
        assert sentence.endswith(remedy(name) + "get online")
