"""Both pages in a real browser: what a user sees, fills in and clicks. Look at the pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 60_000
SKY = "decals-sim-150-42"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A tall window: both programs scroll within it, and a picture shows the window alone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": 1500, "height": 1800},
        )
        page, broken, asked = browser.pages[0], [], set()
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("request", lambda request: asked.add(request.url))
        yield page
        browser.close()
    assert broken == []
    elsewhere = {url for url in asked if not re.match(r"(http://127\.0\.0\.1:|ws://127\.0\.0\.1:|data:|blob:)", url)}
    assert elsewhere == set(), "a page that must work offline asked somebody else"


def model_training(page: Page) -> None:
    """Away with what MLflow shows for language models."""
    page.get_by_text("Model training", exact=True).first.dispatch_event("click")
    if (close := page.get_by_label("Close", exact=True)).count():
        close.first.dispatch_event("click")


def submit(page: Page, screenshots: Path) -> None:
    """Click until the form is gone, as people do: the page drops a click whose check a busy server does not answer."""
    for tries_left in (2, 1, 0):
        page.get_by_role("button", name="Submit").click()
        try:
            page.wait_for_url(re.compile("tab=Runs"))
        except PlaywrightTimeout:
            page.screenshot(path=screenshots / "prefect-form-stuck.png")
            if not tries_left:
                raise
        else:
            return


def test_the_deployments_are_listed(page: Page, operated, screenshots: Path):
    page.goto(f"{operated.stack.prefect_url}/deployments")
    expect(page.get_by_text(re.compile(r"\d+ Deployments"))).to_be_visible()
    for name in ("candels", "decals"):
        expect(page.get_by_role("link", name=name).first).to_be_visible()
    page.screenshot(path=screenshots / "prefect-deployments.png")


def test_a_run_form_is_filled_and_submitted(page: Page, operated, screenshots: Path):
    deployment = operated.prefect("/deployments/name/train/decals")
    page.goto(f"{operated.stack.prefect_url}/deployments/deployment/{deployment['id']}/run")
    fields = {"survey": str(operated.toml), "Encoder (Optional)": "mobilenet_v3_small", "Epochs (Optional)": "1"}
    for label, value in fields.items():
        there = page.locator(".schema-form-property__label").get_by_text(label, exact=True)
        expect(there).to_be_visible()
        there.locator("xpath=ancestor::*[contains(@class, 'p-label')][.//textarea or .//input][1]").locator(
            "textarea, input"
        ).first.fill(value)
    page.screenshot(path=screenshots / "prefect-form.png")
    submit(page, screenshots)
    wanted = {"deployments": {"id": {"any_": [deployment["id"]]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
    (submitted,) = operated.prefect("/flow_runs/filter", wanted)
    run_id = submitted["id"]
    page.goto(f"{operated.stack.prefect_url}/runs/flow-run/{run_id}")
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible(timeout=600_000)
    page.screenshot(path=screenshots / "prefect-run.png")
    run = operated.prefect(f"/flow_runs/{run_id}")
    assert run["state_type"] == "COMPLETED"
    assert run["parameters"]["survey"] == str(operated.toml)
    assert run["parameters"]["config"]["epochs"] == 1


def test_a_bad_value_is_refused_in_the_form(page: Page, operated, screenshots: Path):
    deployment = operated.prefect("/deployments/name/train/decals")
    its_runs = {"deployments": {"id": {"any_": [deployment["id"]]}}}  # the sweep's are planned at any time
    runs = len(operated.prefect("/flow_runs/filter", its_runs))
    page.goto(f"{operated.stack.prefect_url}/deployments/deployment/{deployment['id']}/run")
    there = page.locator(".schema-form-property__label").get_by_text("Epochs (Optional)", exact=True)
    there.locator("xpath=ancestor::*[contains(@class, 'p-label')][.//input][1]").locator("input").first.fill("0")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text(re.compile("less than the minimum|greater than or equal")).first).to_be_visible()
    page.wait_for_timeout(1000)
    page.screenshot(path=screenshots / "prefect-form-refused.png")
    assert len(operated.prefect("/flow_runs/filter", its_runs)) == runs


def test_a_runs_artifacts_are_one_page_and_what_belongs_to_it(page: Page, operated, screenshots: Path):
    run_id = operated.runs["pipeline/demo"]
    page.goto(f"{operated.stack.prefect_url}/runs/flow-run/{run_id}?tab=Artifacts")
    page.get_by_text("Artifacts", exact=True).first.click()
    expect(page.get_by_text("The run's page").first).to_be_visible()
    page.screenshot(path=screenshots / "prefect-artifacts.png")
    wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "type": {"any_": ["markdown"]}}}
    (one,) = operated.prefect("/artifacts/filter", wanted)
    page.goto(f"{operated.stack.prefect_url}/artifacts/artifact/{one['id']}")
    expect(page.get_by_role("heading", name="pipeline-demo")).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("MLflow")).first).to_be_visible()
    page.set_viewport_size({"width": 1500, "height": 4200})
    page.wait_for_timeout(1000)
    page.screenshot(path=screenshots / "prefect-page.png")
    page.set_viewport_size({"width": 1500, "height": 1800})


def test_four_runs_are_compared_by_the_same_metrics(page: Page, four_runs, screenshots: Path):
    experiment, runs = four_runs.mlflow_runs()
    runs = runs[:4]
    keys = [{metric["key"] for metric in run["data"]["metrics"]} for run in runs]
    assert len(keys) == 4
    assert all(one == keys[0] for one in keys)
    assert {"test/nll", "val/loss"} <= keys[0]
    page.goto(f"{four_runs.stack.mlflow_url}/#/experiments/{experiment}")
    model_training(page)
    page.goto(f"{four_runs.stack.mlflow_url}/#/experiments/{experiment}/runs")
    for run in runs:
        expect(page.get_by_text(run["info"]["run_name"]).first).to_be_visible()
    page.screenshot(path=screenshots / "mlflow-runs.png")
    ids, experiments = quote(json.dumps([run["info"]["run_id"] for run in runs])), quote(json.dumps([experiment]))
    page.goto(f"{four_runs.stack.mlflow_url}/#/compare-runs?runs={ids}&experiments={experiments}")
    expect(page.get_by_text("Comparing 4 Runs from 1 Experiment")).to_be_visible()
    expect(page.get_by_text("Parallel Coordinates Plot")).to_be_visible()
    expect(page.locator(".js-plotly-plot .parcoords, .parcoords-line-layers").first).to_be_attached()
    page.wait_for_timeout(2000)
    page.screenshot(path=screenshots / "mlflow-compare.png")


def test_a_runs_charts(page: Page, four_runs, screenshots: Path):
    experiment, runs = four_runs.mlflow_runs()
    page.goto(f"{four_runs.stack.mlflow_url}/#/experiments/{experiment}/runs?compareRunsMode=CHART")
    expect(page.get_by_text(runs[0]["info"]["run_name"]).first).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_attached()
    page.wait_for_timeout(2000)
    page.screenshot(path=screenshots / "mlflow-charts.png")
    page.goto(f"{four_runs.stack.mlflow_url}/#/experiments/{experiment}/runs/{runs[-1]['info']['run_id']}")
    expect(page.get_by_role("link", name="this flow run")).to_be_visible()
    page.screenshot(path=screenshots / "mlflow-run.png")


def test_the_registry_shows_both_aliases(page: Page, four_runs, screenshots: Path):
    page.goto(f"{four_runs.stack.mlflow_url}/#/models/gzflow-{SKY}")
    expect(page.get_by_text(re.compile("champion")).first).to_be_visible()
    expect(page.get_by_text(re.compile("challenger")).first).to_be_visible()
    page.wait_for_timeout(1000)
    page.screenshot(path=screenshots / "mlflow-registry.png")
