"""What a person sees in `mlflow ui`, in a real browser: from the page of studies to the replies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from experiments.reporting import report_run
from experiments.reporting.variants import of_study
from tests.support.stored_runs import level_rows, write_generations
from tests.support.stores import mlflow
from tracking.store import Store, open_store

with suppress(ImportError):
    from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM or "sync_playwright" not in globals(),
        reason="to look at MLflow's UI: apt-get install chromium; pip install -e '.[dev]'",
    ),
]

BUDGETS = (16, 64)
PURPOSE = "does <b>half</b> [still](x) reason?"
SECONDS = 20_000


def store_study(store: Store) -> str:
    """A study of two levels and four trials with all that a search writes; gives its run's id."""
    config = {"budgets": BUDGETS, "sparsity": [0.0, 0.5], "trials": None}
    params = {"model": "tiny", "method": "sparsegpt", "benchmarks": "arithmetic"}
    with store.study("seen", params, {"note": PURPOSE}, config) as study:
        for sparsity in (0.0, 0.5):
            rows = list(level_rows("arithmetic", sparsity))
            accuracy = {budget: (1 - sparsity) * budget / 64 for budget in BUDGETS}
            name = f"{sparsity:.0%} sparse"
            level_params = params | {"sparsity": sparsity}
            with study.level(name, f"tiny {name}", level_params) as level:
                write_generations(level, "arithmetic", rows)
                level.log_samples([row | {"gold": "7"} for row in rows if row["budget"] is None])
                level.log_curve({"accuracy": accuracy})
            for number, budget in enumerate(BUDGETS):
                metrics = {"accuracy": accuracy[budget], "tokens/mean": budget + 40 * sparsity}
                named = f"{name}, {budget} tokens"
                study.trial(
                    named, named, level_params, metrics, number=number, level_run_id=level.id
                )
        study.log_metrics({"best/accuracy": 1.0, "best/tokens": 64.0})
    selection = of_study(store, "seen")
    report_run.keep(store, selection, report_run.made(selection))
    return study.id


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("seen")
    store = open_store(None, root, team="alpha")
    (root / "mlflow.db").symlink_to("mlruns/mlflow.db")
    return store


@pytest.fixture(scope="module")
def study(store: Store) -> str:
    return store_study(store)


@pytest.fixture(scope="module")
def ui(store: Store, study: str) -> Iterator[str]:
    """The address of plain `mlflow ui`, started in the project's folder."""
    with mlflow("ui", folder=store.root) as server:
        yield f"{server.address}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    """A window of someone who has closed MLflow's assistant before."""
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = chromium.new_context(viewport={"width": 1400, "height": 900})
        closed = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
        context.add_init_script(closed)
        context.set_default_timeout(SECONDS)
        expect.set_options(timeout=SECONDS)
        yield context
        chromium.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """A page; what goes wrong in it, but for what MLflow's own code reports, fails the test."""
    wrong: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        url = message.location["url"]
        if message.type == "error" and "static-files" not in url and "ajax-api" not in url:
            wrong.append(f"{message.text} ({url})")

    browser.on("console", hear)
    yield browser.new_page()
    browser.remove_listener("console", hear)
    for tab in browser.pages:
        tab.close()
    assert not wrong


def follow(page: Page, link: str) -> Page:
    """The tab in which a link of the description opens."""
    with page.context.expect_page() as opened:
        page.get_by_role("link", name=link, exact=True).click()
    return opened.value


def test_from_the_studies_to_the_frontier(page: Page, ui: str, store: Store, study: str) -> None:
    page.goto(ui + store.pages.studies)
    for text in ("best/accuracy", "alpha", PURPOSE):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    page.get_by_role("link", name="seen", exact=True).click()
    expect(page.get_by_text(PURPOSE, exact=True).first).to_be_visible()
    chart = follow(page, "Frontier: accuracy over tokens")
    expect(chart.get_by_text("4 matching runs")).to_be_visible()
    points = chart.locator(".js-plotly-plot").first.locator(".scatterlayer .point")
    expect(points).to_have_count(4)


def test_from_the_study_to_a_level_and_its_replies(page: Page, ui: str, store: Store) -> None:
    study, _ = store.study_runs("seen")
    page.goto(ui + store.pages.of(study))
    lines = follow(page, "Levels: accuracy over the budget")
    expect(lines.get_by_text("2 matching runs")).to_be_visible()
    points = lines.locator(".js-plotly-plot").first.locator(".scatterlayer .point")
    expect(points).to_have_count(2 * len(BUDGETS))
    lines.get_by_role("link", name="tiny 50% sparse").first.click()
    curve = follow(lines, "Curves over the budget")
    expect(curve.locator(".js-plotly-plot").first.locator(".point")).to_have_count(len(BUDGETS))
    table = follow(lines, "Sampled replies")
    expect(table.get_by_text("\\boxed{7} in 53")).to_be_visible()
    assert follow(lines, "Study").url.partition("?")[0].endswith(study.id)


def test_the_report_is_shown_in_its_frame(page: Page, ui: str, store: Store) -> None:
    study, _ = store.study_runs("seen")
    page.goto(ui + store.pages.of(study))
    report = follow(page, "Report")
    frame: Any = report.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="seen")).to_be_visible()
    expect(frame.locator("svg").first).to_be_visible()
