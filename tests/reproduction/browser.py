"""The page in a real browser: ``pytest tests/reproduction/browser.py``, which needs Chromium.

Its name keeps it out of the default run. PAGE=FILE checks that page instead of a tiny one, and
SHOTS=FOLDER keeps the screenshots.
"""

import base64
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from tests.reproduction.tiny import reproduce
from tests.support.chromium import VIEWS, Chromium, show

MEASURE = """({
    images: document.images.length,
    broken: [...document.images].filter(i => !(i.complete && i.naturalWidth)).length,
    hidden: [...document.images].filter(i => !i.getBoundingClientRect().width).length,
    content: document.documentElement.scrollWidth,
    height: document.documentElement.scrollHeight,
    window: innerWidth,
    paper: getComputedStyle(document.body).backgroundColor,
})"""


# What hides less than the padding of its last column, 16 pixels, goes on nowhere.
SCROLLING = """(end => [...document.querySelectorAll(".scroll")]
    .filter(e => e.scrollWidth > e.clientWidth + 16)
    .map(e => { e.scrollLeft = end * e.scrollWidth; return e.getBoundingClientRect() })
    .map(r => [r.left, r.right, r.top + scrollY, r.height]))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page under test."""
    if "PAGE" in os.environ:
        return Path(os.environ["PAGE"]).absolute()
    folder = tmp_path_factory.mktemp("report")
    reproduce(folder)
    return folder / "index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """Return a browser."""
    with Chromium() as chromium:
        yield chromium


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_page_is_shown_whole(page: Path, browser: Chromium, view: str, scheme: str) -> None:
    """The page shows every image in the scheme, without errors, requests or a horizontal scroll."""
    size = show(browser, page, view, scheme)
    measured = browser("Runtime.evaluate", expression=MEASURE, returnByValue=True)
    found = measured["result"]["value"]
    if "SHOTS" in os.environ:
        browser("Emulation.setDeviceMetricsOverride", **size | {"height": found["height"]})
        png = browser("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path = Path(os.environ["SHOTS"]) / f"{view}-{scheme}.png"
        path.write_bytes(base64.b64decode(png))

    requests = [request["request"]["url"] for request in browser.named("Network.requestWillBeSent")]
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    assert browser.named("Log.entryAdded", "Runtime.exceptionThrown") == []
    assert browser.named("Runtime.consoleAPICalled") == []
    assert found["images"] > 20
    assert (found["broken"], found["hidden"]) == (0, 0)
    assert found["content"] <= found["window"] == size["width"]
    shade = int(found["paper"].removeprefix("rgb(").partition(",")[0])
    assert (shade > 200) == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("end", [0, 1])
def test_wide_tables_show_where_they_go_on(
    page: Path, browser: Chromium, end: int, scheme: str
) -> None:
    """On a phone, a table that scrolls has a shadow at the edge beyond which it goes on."""
    show(browser, page, "phone", scheme)
    found = browser("Runtime.evaluate", expression=f"{SCROLLING}({end})", returnByValue=True)
    edges = found["result"]["value"]
    assert len(edges) > 2

    def colour(x: float, top: float, height: float) -> Any:
        clip = {"x": x, "y": top, "width": 1, "height": height, "scale": 1}
        png = browser("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        return np.median(imread(io.BytesIO(base64.b64decode(png)))[..., :3], axis=(0, 1))

    for left, right, top, height in edges:
        paper = colour(left - 2, top, height)
        shadows = [abs(colour(x, top, height) - paper).max() for x in (left, right - 1)]
        assert shadows[end] < 0.02
        assert shadows[1 - end] > 0.1
