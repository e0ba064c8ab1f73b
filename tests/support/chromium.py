"""A real browser for tests: Chromium, by its DevTools protocol."""

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
VIEWS = {"desktop": 1280, "phone": 390}


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

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page, or of its promise."""
        found = self(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def named(self, *methods: str) -> list[dict[str, Any]]:
        """Return the parameters of events of these names."""
        return [event["params"] for event in self.events if event.get("method") in methods]


def show(browser: Chromium, page: Path, view: str, scheme: str) -> dict[str, int]:
    """Open a page in a view and a colour scheme, and return the size of the window."""
    width = VIEWS[view]
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser("Emulation.setEmulatedMedia", features=features)
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser("Emulation.setDeviceMetricsOverride", **size)
    browser.show(page)
    return size
