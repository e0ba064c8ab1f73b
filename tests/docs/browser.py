"""The site in a real browser: ``SITE=FOLDER pytest -n 0 tests/docs/browser.py``; needs Chromium.

Its name keeps it out of the default run. SHOTS=FOLDER keeps screenshots. For accessibility,
``npm install --prefix FOLDER axe-core`` installs axe-core, and
AXE=FOLDER/node_modules/axe-core/axe.min.js names its file.
"""

import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import VIEWS, Chromium, show

SITE = Path(os.environ.get("SITE", "site")).absolute()
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")) or ["index.html"]
CUT_OFF = """[...document.querySelectorAll(".content *")]
    .filter(e => !e.closest(".toc-drawer") && e.getBoundingClientRect().right > innerWidth + 1)
    .filter(e => !e.parentElement.closest("pre, .table-wrapper, .math-wrapper"))
    .map(e => e.outerHTML.slice(0, 80))"""
BROKEN = """[...document.images].filter(image => !(image.complete && image.naturalWidth))
    .map(image => image.src)"""
# What is loaded only near the window is loaded now, so that it is judged too.
LOAD = """Promise.allSettled([...document.images].map(image => {
    image.loading = "eager";
    return image.decode();
}))"""
# axe-core does not judge text before a gradient. After two frames, boxes that scroll are marked.
READY = """new Promise(done => {
    document.head.insertAdjacentHTML("beforeend",
        "<style>.table-wrapper { background: none !important }</style>");
    requestAnimationFrame(() => requestAnimationFrame(done));
})"""
VIOLATIONS = """axe.run().then(({violations}) => violations
    .filter(({impact}) => ["serious", "critical"].includes(impact))
    .map(({id, nodes}) => [id, nodes.length, nodes[0].html, nodes[0].failureSummary]))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """Return a browser."""
    with Chromium() as chromium:
        yield chromium


def assert_quiet(browser: Chromium) -> None:
    """Assert that the page asked only for files of the site, and that nothing was logged."""
    requests = [request["request"]["url"] for request in browser.named("Network.requestWillBeSent")]
    inside = (f"{SITE.as_uri()}/", "data:")
    assert requests
    assert [url for url in requests if not url.startswith(inside)] == []
    assert browser.named("Network.loadingFailed") == []
    assert browser.named("Log.entryAdded", "Runtime.exceptionThrown") == []
    assert browser.named("Runtime.consoleAPICalled") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_shown_whole(browser: Chromium, page: str, view: str, scheme: str) -> None:
    """It has every image and no horizontal scroll, asks for nothing outside, logs no error."""
    size = show(browser, SITE / page, view, scheme)
    browser.value(LOAD)
    assert browser.value(BROKEN) == []
    assert browser.value("document.documentElement.scrollWidth") <= size["width"]
    assert browser.value(CUT_OFF) == []
    assert_quiet(browser)
    paper = browser.value("getComputedStyle(document.body).backgroundColor")
    shade = int(paper.removeprefix("rgb(").partition(",")[0])
    assert (shade > 200) == (scheme == "light")
    if "SHOTS" in os.environ:
        height = min(browser.value("document.documentElement.scrollHeight"), 16_000)
        browser("Emulation.setDeviceMetricsOverride", **size | {"height": height})
        png = browser("Page.captureScreenshot")["data"]
        name = page.replace("/", "-").removesuffix(".html")
        path = Path(os.environ["SHOTS"]) / f"{name}-{view}-{scheme}.png"
        path.write_bytes(base64.b64decode(png))


@pytest.mark.parametrize("view", VIEWS)
def test_the_search_needs_no_server(browser: Chromium, view: str) -> None:
    """It finds the pages about a word, from a file and without errors."""
    show(browser, SITE / "search.html", view, "light")
    browser.events.clear()
    browser.value("""document.querySelector('form input[name="q"]').value = "backward";
        document.querySelector('form:has(input[name="q"])').requestSubmit()""")
    found: list[str] = []
    deadline = time.monotonic() + 30
    while "learn/backpropagation.html" not in found and time.monotonic() < deadline:
        time.sleep(0.1)
        found = browser.value("""[...document.querySelectorAll("#search-results li a")]
            .map(a => a.getAttribute("href").replace(/[?#].*/, ""))""")
    assert "learn/backpropagation.html" in found
    assert_quiet(browser)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_accessible(browser: Chromium, page: str, view: str, scheme: str) -> None:
    """axe-core finds nothing serious."""
    show(browser, SITE / page, view, scheme)
    browser.value(Path(os.environ["AXE"]).read_text(encoding="utf-8"))
    browser.value(READY)
    assert browser.value(VIOLATIONS) == []
