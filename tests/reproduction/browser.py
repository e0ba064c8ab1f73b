"""The page in a real browser: ``pytest tests/reproduction/browser.py``, which needs Chromium.

Its name keeps it out of the default run. PAGE=FILE checks that page instead of a tiny one, and
SHOTS=FOLDER keeps the screenshots.
"""

import base64
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from tests.reproduction.tiny import reproduce

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
VIEWS = {"desktop": 1280, "phone": 390}
MEASURE = """({
    images: document.images.length,
    broken: [...document.images].filter(i => !(i.complete && i.naturalWidth)).length,
    hidden: [...document.images].filter(i => !i.getBoundingClientRect().width).length,
    content: document.documentElement.scrollWidth,
    height: document.documentElement.scrollHeight,
    window: innerWidth,
    paper: getComputedStyle(document.body).backgroundColor,
})"""


class Chromium:
    """Speak the DevTools protocol with a browser through a pipe."""

    def __init__(self) -> None:
        theirs, self.write = os.pipe()
        self.read, back = os.pipe()
        command = f'exec chromium "$@" 3<&{theirs} 4>&{back}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, "chromium", *FLAGS, "about:blank"],
            pass_fds=(theirs, back),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(back)
        self.buffer, self.number, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Chromium":
        """Attach to a new tab."""
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self(f"{domain}.enable")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """End the browser."""
        self.process.terminate()
        self.process.wait(10)
        os.close(self.read)
        os.close(self.write)

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method; keep the events that come before its answer."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def receive(self) -> dict[str, Any]:
        """Return the next message."""
        while b"\0" not in self.buffer:
            chunk = os.read(self.read, 1 << 20)
            assert chunk, "the browser has gone"
            self.buffer += chunk
        message, _, self.buffer = self.buffer.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def show(self, page: Path) -> None:
        """Open a page, and wait until it is loaded."""
        self.events.clear()
        self("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())

    def named(self, *methods: str) -> list[dict[str, Any]]:
        """Return the parameters of events of these names."""
        return [event["params"] for event in self.events if event.get("method") in methods]


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


def show(browser: Chromium, page: Path, view: str, scheme: str) -> dict[str, int]:
    """Open a page in a view and a colour scheme, and return the size of the window."""
    width = VIEWS[view]
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser("Emulation.setEmulatedMedia", features=features)
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser("Emulation.setDeviceMetricsOverride", **size)
    browser.show(page)
    return size


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
