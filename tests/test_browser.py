"""The report in a real browser: drawn, silent, alone, and readable on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankconv.paper.report import write_report
from synthetic_log import records, write_log

pytestmark = pytest.mark.browser

SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 812}
DRAWN = "document.documentElement.dataset.drawn !== undefined"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here: install Debian's package chromium to run the browser tests")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(SWITCHES))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    lines = records(epochs=5, naive_images=500)
    lines[0]["methods"][3]["label"] = "<i>rank</i> & $two$"  # must arrive as it is
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32)).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rankconv.paper.report.save", lambda *_: None)  # the page alone
        return write_report(write_log(folder / "log.jsonl", lines), folder, test_images=images)


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Any]:
    """Opens the report and collects what a silent, self-contained page does not have."""
    contexts = []

    def open_page(viewport: dict[str, int], scheme: str = "light") -> tuple[Any, list[str]]:
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:", "blob:"))
                or complaints.append(f"request: {request.url}")
            ),
        )
        page.goto(report.as_uri())
        page.wait_for_function(DRAWN, timeout=60_000)
        return page, complaints

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_and_nothing_overflows(
    viewport: dict[str, int], scheme: str, opened: Any
) -> None:
    page, complaints = opened(viewport, scheme)
    figures = page.evaluate(
        """[...document.querySelectorAll('.plot')].map((box) => {
            const svg = box.querySelector('svg.main-svg');
            const marks = box.querySelectorAll('.trace path, .trace .point, .heatmaplayer image');
            const r = svg?.getBoundingClientRect();
            return {key: box.dataset.figure, marks: marks.length, left: r?.left, right: r?.right,
                    height: r?.height, room: box.clientWidth};
        })"""
    )
    assert len(figures) >= 15
    for figure in figures:
        assert figure["marks"] > 0, figure
        assert figure["height"] > 120, figure
        assert 0 <= figure["left"] < figure["right"] <= viewport["width"], figure
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    sizes = page.evaluate(
        "[...document.querySelectorAll('main p, main td, main li')]"
        ".map((e) => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 12
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert complaints == []


def test_text_stays_within_its_card_on_a_phone(opened: Any) -> None:
    page, _ = opened(PHONE)
    outside = page.evaluate(
        """[...document.querySelectorAll('h1, h2, h3, p, dd, pre, figcaption, .tile')]
            .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)"""
    )
    assert outside == []


def test_the_switch_changes_page_and_figures(opened: Any) -> None:
    page, complaints = opened(DESKTOP)
    look = """[getComputedStyle(document.body).backgroundColor,
        document.querySelector('#average-test-time .point path').style.fill,
        document.querySelector('#average-test-time .ytick text').style.fill]"""
    light = page.evaluate(look)
    page.click("#theme")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    dark = page.evaluate(look)
    assert all(before != after for before, after in zip(light, dark, strict=True))
    page.click("#theme")
    page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    assert page.evaluate(look) == light
    assert complaints == []


def test_labels_with_markup_are_shown_as_text(opened: Any) -> None:
    page, complaints = opened(DESKTOP)
    ticks = page.evaluate(
        "[...document.querySelectorAll('#average-test-time .ytick text')]"
        ".map((e) => e.textContent.trim())"
    )
    assert "<i>rank</i> & $two$" in ticks
    assert complaints == []


def test_the_slider_shows_an_earlier_epoch(opened: Any) -> None:
    page, _ = opened(DESKTOP)
    state = "(() => { const box = document.querySelector('#filters .plot');"
    first = page.evaluate(state + " return box.data[0].z[0][0]; })()")
    page.evaluate("document.querySelector('#filters .plot').scrollIntoView({behavior: 'instant'})")
    slider = page.locator("#filters .slider-rail-touch-rect")
    box = slider.bounding_box()
    page.mouse.click(box["x"] + 2, box["y"] + box["height"] / 2)
    page.wait_for_function(
        "document.querySelector('#filters .slider-label').textContent.endsWith(' 1')"
    )
    assert page.evaluate(state + " return box.data[0].z[0][0]; })()") != first
    page.click("#theme")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    shown = page.evaluate("document.querySelector('#filters .slider-label').textContent")
    assert shown == "after epoch 1"


def test_without_scripts_the_page_says_where_the_figures_are(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("noscript p").is_visible()
    assert page.locator("text=What was found").is_visible()
    context.close()
