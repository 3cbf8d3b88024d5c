"""Descriptions of runs: what a person wrote stays text, and links follow a run to another store."""

from __future__ import annotations

import html

import pytest

from tracking import notes
from tracking.views import Pages

PAGES = Pages({"study": "1", "level": "2", "trial": "3"})
STUDY, LEVEL = "0" * 32, "1" * 32


@pytest.mark.parametrize(
    "text", ["a](b) |c| <b>*x*</b>", "[l](javascript:x)", "# 1. `y` www.z.org :tada: @me", "naïve"]
)
def test_what_a_person_wrote_holds_no_markup(text: str) -> None:
    shown = notes.escape(text)
    assert html.unescape(shown) == text
    assert not set(shown) & set("[](){}<>|*_`\"'/.:@!~=+-")


def test_a_purpose_is_one_line_without_secrets() -> None:
    note = notes.of_study(PAGES, STUDY, "see\n\n# http://me:hunter2@host api_key=hunter3")
    purpose, _, links = note.partition("\n\n")
    assert html.unescape(purpose) == "see # http://***@host api_key=***"
    assert links.startswith("[Report](#/experiments/1/runs/")


def test_links_survive_what_takes_secrets_out() -> None:
    note = notes.of_study(PAGES, STUDY, "")
    assert notes.redact(note) == note


def test_links_follow_a_run_to_another_store() -> None:
    ids = {STUDY: "a" * 32, LEVEL: "b" * 32}
    there = Pages({"study": "3", "level": "1", "trial": "7"})
    for kind in (notes.of_level, notes.of_trial):
        moved = notes.moved(kind(PAGES, STUDY, LEVEL), ids, {"1": "3", "2": "1", "3": "7"})
        assert moved == kind(there, ids[STUDY], ids[LEVEL])
