"""The page of a compression in a real browser: with and without scripts, wide and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import compressions
from rankconv.compress.report import write_html
from test_browser import DESKTOP, PHONE, SWITCHES

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium here: install Debian's package chromium to run the browser tests")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(SWITCHES))
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens the report and collects what a silent, self-contained page does not have."""
    path = write_html(compressions.report(), tmp_path / "report.html")
    contexts = []

    def open_page(viewport: dict[str, int], scheme: str, script: bool) -> tuple[Any, list[str]]:
        context = chromium.new_context(
            viewport=viewport, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:"))
                or complaints.append(f"request: {request.url}")
            ),
        )
        page.goto(path.as_uri())
        return page, complaints

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize(
    ("viewport", "scheme", "script"),
    [
        (DESKTOP, "light", True),
        (DESKTOP, "dark", False),
        (PHONE, "light", False),
        (PHONE, "dark", True),
    ],
    ids=["desktop light", "desktop dark no script", "phone light no script", "phone dark"],
)
def test_readable_and_silent(viewport, scheme: str, script: bool, opened: Any) -> None:
    page, complaints = opened(viewport, scheme, script)
    assert page.locator("a.mark:visible").count() == 7
    assert page.locator("svg.narrow:visible").count() == (viewport is PHONE)
    box = page.locator(".plot svg:visible").first.bounding_box()
    assert 0 <= box["x"] < box["x"] + box["width"] <= viewport["width"]
    shown = page.locator(".plot svg:visible").first
    assert float(shown.get_attribute("font-size")) * box["width"] / float(
        shown.get_attribute("viewBox").split()[2]
    ) > (10.5 if viewport is PHONE else 13)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    outside = page.evaluate(
        """[...document.querySelectorAll('h1, h2, h3, p, dd, pre, figcaption, .tile, li')]
            .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)"""
    )
    assert outside == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(ground.removeprefix("rgb(").split(",")[0]) < 128) == (scheme == "dark")
    assert page.locator("#theme").is_visible() == script
    assert complaints == []


def test_a_tip_beside_a_point_by_mouse_and_by_key(opened: Any) -> None:
    page, complaints = opened(DESKTOP, "light", True)
    tip = page.locator("#tip")
    assert not tip.is_visible()
    page.locator("a.mark:visible").nth(1).hover()
    assert "candidate 1" in tip.inner_text()
    assert "3.3 ms (middle half 3.23 ms to 3.43 ms), 1.30×" in tip.inner_text()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.locator("a.mark:visible").last.focus()
    assert "candidate 3" in tip.inner_text()
    assert complaints == []


def test_kinds_of_points_can_be_hidden_and_layers_sorted(opened: Any) -> None:
    page, complaints = opened(DESKTOP, "light", True)
    page.get_by_label("int8 alone").uncheck()
    assert page.locator("a.mark:visible").count() == 6
    names = ".layers tbody tr th"
    before = page.locator(names).all_inner_texts()
    page.get_by_role("button", name="After").click()
    seconds = {f.name: f.seconds_after for f in compressions.report().layers}
    by_time = [text.split("\n")[0] for text in page.locator(names).all_inner_texts()]
    assert by_time == sorted(seconds, key=seconds.__getitem__)
    page.get_by_role("button", name="After").click()
    assert page.locator("th[aria-sort=descending]").count() == 1
    assert [t.split("\n")[0] for t in page.locator(names).all_inner_texts()] == by_time[::-1]
    page.get_by_role("button", name="Layer").click()
    assert page.locator(names).all_inner_texts() == before
    assert complaints == []


def test_the_button_changes_the_ground_and_is_remembered(opened: Any) -> None:
    page, _ = opened(DESKTOP, "light", True)
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.locator("#theme").click()
    dark = page.evaluate(ground)
    assert dark != before
    page.reload()
    assert page.evaluate(ground) == dark
