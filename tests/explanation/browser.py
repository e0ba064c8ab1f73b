"""The page in a real browser: ``pytest -n 0 tests/explanation/browser.py``, which needs Chromium.

Its name keeps it out of the default run. RUN=FOLDER takes the network of a run, and SHOTS=FOLDER
keeps screenshots.
"""

import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import purenet
from benchmarks.pictures import STROKES
from purenet.explanation.page import render
from purenet.files import checkpoints
from purenet.params import Params
from purenet.testing.error_bounds import probability_bound
from purenet.testing.vectors import judge, load
from tests.support.chromium import VIEWS, Chromium, show

TEST = purenet.datasets.mnist()[1]
CFG = purenet.Config()

VECTORS = Path(__file__).parents[2] / "vectors"
RUN_IN_BROWSER = {
    "forward": "({logits: program.forward(params, x)})",
    "loss": "({loss: program.loss(params, x, y, l2)})",
    "backward": "(({loss, grads}) => ({loss, ...grads}))(program.backward(params, x, y, l2))",
    "train": """(({losses, params, velocity}) => ({losses, ...params, ...Object.fromEntries(
        Object.entries(velocity).map(([k, v]) => ["velocity." + k, v]))}))(
        program.train(params, x, y, {l2, ...rest}))""",
}
CHOOSE = """(select => {
    select.value = %d;
    select.dispatchEvent(new Event("input"));
})(document.getElementById("example"))"""
TRAIN = """new Promise(done => {
    const button = document.getElementById("train");
    const look = () => button.disabled ? setTimeout(look, 100) : done(true);
    button.click();
    setTimeout(look, 100);
})"""


@pytest.fixture(scope="module")
def params() -> Params:
    """Return a trained network: that of a run, or one of three epochs."""
    if "RUN" in os.environ:
        return checkpoints.load(os.environ["RUN"]).params
    start = purenet.init([784, 200, 50, 10])
    return purenet.train(start, purenet.datasets.mnist()[0], purenet.Config(epochs=3)).params


@pytest.fixture(scope="module")
def page(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page under test."""
    path = tmp_path_factory.mktemp("page") / "explain.html"
    path.write_text(render(params, TEST, CFG), encoding="utf-8")
    assert path.stat().st_size < 3_000_000
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """Return a browser."""
    with Chromium() as chromium:
        yield chromium


def text(browser: Chromium, name: str) -> str:
    """Return the text of an element."""
    found: str = browser.value(f'document.getElementById("{name}").textContent')
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_the_page_shows_numbers_within_a_second(
    page: Path, browser: Chromium, view: str, scheme: str
) -> None:
    """There are no errors, no requests and no horizontal scroll, and each picture is drawn."""
    started = time.monotonic()
    size = show(browser, page, view, scheme)
    assert text(browser, "answer").startswith("7 ")
    assert time.monotonic() - started < 1
    requests = [request["request"]["url"] for request in browser.named("Network.requestWillBeSent")]
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    assert browser.named("Log.entryAdded", "Runtime.exceptionThrown") == []
    assert browser.named("Runtime.consoleAPICalled") == []
    assert browser.value("document.documentElement.scrollWidth") <= size["width"]
    blank = """[...document.querySelectorAll("canvas.numbers")].filter(c => c.id !== "W1-change"
        && !c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some(v => v)).length"""
    assert browser.value(blank) == 0
    if "SHOTS" in os.environ:
        height = browser.value("document.documentElement.scrollHeight")
        browser("Emulation.setDeviceMetricsOverride", **size | {"height": height})
        png = browser("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        (Path(os.environ["SHOTS"]) / f"{view}-{scheme}.png").write_bytes(base64.b64decode(png))


def test_probabilities_are_those_of_purenet(page: Path, browser: Chromium, params: Params) -> None:
    """For thirty examples they differ by no more than two correct evaluations may."""
    show(browser, page, "desktop", "light")
    for i in range(30):
        browser.value(CHOOSE % i)
        p = np.array(browser.value('document.getElementById("classes").numbers'))
        pixels = TEST[0][i : i + 1]
        ours = purenet.predict_proba(params, pixels, input_scale=CFG.input_scale)[0]
        x = pixels.astype(np.float32) * np.float32(CFG.input_scale)
        assert np.all(np.abs(p - ours) <= 2 * probability_bound(params, x)[0])


def test_all_numbers_are_those_of_purenet(page: Path, browser: Chromium, params: Params) -> None:
    """Activations, δ, gradients and the loss of an example, as pictures hold and describe them."""
    show(browser, page, "desktop", "light")
    browser.value(CHOOSE % 11)
    x = (TEST[0][11:12].astype(np.float32) * np.float32(CFG.input_scale)).astype(np.float64)
    y, wide = TEST[1][11:12], {name: p.astype(np.float64) for name, p in params.items()}
    J, grads = purenet.backward(wide, x, y, l2=CFG.l2)

    def numbers(name: str) -> Any:
        return np.array(browser.value(f'document.getElementById("{name}").numbers'))

    a = x
    for k in (1, 2, 3):
        z = a @ wide[f"W{k}"] + wide[f"b{k}"]
        np.testing.assert_allclose(numbers(f"z{k}"), z[0], atol=1e-12)
        np.testing.assert_allclose(numbers(f"delta{k}"), grads[f"b{k}"], atol=1e-14)
        np.testing.assert_allclose(numbers(f"b{k}-gradient"), grads[f"b{k}"], atol=1e-14)
        if k > 1:
            gradient = numbers(f"W{k}-gradient").reshape(grads[f"W{k}"].T.shape)
            np.testing.assert_allclose(gradient, grads[f"W{k}"].T, atol=1e-14)
        if k < 3:
            a = np.maximum(z, 0)
            np.testing.assert_allclose(numbers(f"a{k}"), a[0], atol=1e-12)
    np.testing.assert_allclose(numbers("a0"), x[0])
    assert abs(float(text(browser, "loss")) / float(J) - 1) < 1e-3
    p = purenet.predict_proba(wide, x)[0, y[0]]
    assert abs(float(text(browser, "cross-entropy")) / -np.log(p) - 1) < 1e-3
    # Unit 23 stands in the second row of pictures, the fourth from the left.
    q, (row, column) = 23, (14, 15)
    place = f"c.width * {29 + row} + {3 * 29 + column}"
    found = browser.value(f'(c => c.describe({place}))(document.getElementById("W1-gradient"))')
    assert found[0] == f"[{row * 28 + column}, {q}]"
    assert abs(found[1] - grads["W1"][row * 28 + column, q]) < 1e-14


def test_the_program_passes_the_vectors_in_the_browser(page: Path, browser: Chromium) -> None:
    """Forward, loss, backward and training are within the bounds of float64, as in Node."""
    show(browser, page, "desktop", "light")
    program = (Path(purenet.__file__).parent / "explanation" / "network.mjs").read_bytes()
    cases = [case for case in load(VECTORS) if case["operation"] in RUN_IN_BROWSER]
    results = {}
    for case in cases:
        inputs = {name: value.tolist() for name, value in case["inputs"].items()}
        params = {k: value for k, value in inputs.items() if k[0] in "Wb" and k[1:].isdigit()}
        results[case["name"]] = browser.value(
            f"""import("data:text/javascript;base64,{base64.b64encode(program).decode()}").then(
                program => (({{x, y, l2, ...rest}}, params) => {RUN_IN_BROWSER[case["operation"]]})(
                    {json.dumps(inputs)}, {json.dumps(params)}))"""
        )
    found = {"precision": "float64", "results": results}
    report = judge(found, cases)
    assert report.ok, str(report)
    assert sum(operation.cases for operation in report.operations) == len(cases) > 100


def pointer(browser: Chromium, kind: str, x: float, y: float) -> None:
    """Send an event of the mouse."""
    browser("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


def test_digits_drawn_with_the_pointer_are_read(page: Path, browser: Chromium) -> None:
    """Of ten digits drawn by real events of the pointer, at least eight are read right."""
    show(browser, page, "desktop", "light")
    box = browser.value("""(r => [r.x, r.y, r.width, r.height])(
        document.getElementById("drawing").getBoundingClientRect())""")
    left, top, width, height = box
    right = 0
    for digit, strokes in STROKES.items():
        browser.value('document.getElementById("clear").click()')
        for stroke in strokes:
            points = [
                (left + width * (0.25 + 0.6 * u), top + height * (0.12 + 0.76 * v))
                for u, v in stroke
            ]
            pointer(browser, "mousePressed", *points[0])
            for point in points[1:]:
                pointer(browser, "mouseMoved", *point)
            pointer(browser, "mouseReleased", *points[-1])
        right += text(browser, "answer").startswith(f"{digit} ")
    assert right >= 8


def test_the_keyboard_draws(page: Path, browser: Chromium) -> None:
    """Arrow keys draw a line, which changes the input."""
    show(browser, page, "desktop", "light")
    before = browser.value('document.getElementById("a0").numbers')
    browser.value('document.getElementById("drawing").focus()')
    for _ in range(6):
        for kind in ("keyDown", "keyUp"):
            browser("Input.dispatchKeyEvent", type=kind, key="ArrowDown", code="ArrowDown")
    assert browser.value('document.getElementById("a0").numbers') != before
    assert text(browser, "answer").startswith("1 ")


def test_slopes_differ_at_a_kink_and_agree_elsewhere(page: Path, browser: Chromium) -> None:
    """A central difference equals the gradient away from a kink; at one the two sides differ."""
    show(browser, page, "desktop", "light")

    def numbers() -> dict[str, float]:
        names = ("left", "central", "right", "gradient")
        return {name: float(text(browser, f"nudge-{name}")) for name in names}

    smooth = numbers()
    assert abs(smooth["central"] - smooth["gradient"]) < 1e-6 * (1 + abs(smooth["gradient"]))
    browser.value('document.getElementById("kink").click()')
    assert float(text(browser, "nudge-z")) == 0
    kink = numbers()
    sides = sorted([kink["left"], kink["right"]], key=lambda slope: abs(slope - kink["gradient"]))
    assert abs(sides[1] - sides[0]) > 10 * abs(sides[0] - kink["gradient"])


def test_the_page_goes_on_with_blank_inputs_and_diverging_steps(
    page: Path, browser: Chromium
) -> None:
    """Many steps at the largest rate raise no error, and the reset brings everything back."""
    show(browser, page, "desktop", "light")
    before = text(browser, "loss")
    browser.value("""(rate => { rate.value = 0.5; rate.dispatchEvent(new Event("input"));
        for (let i = 0; i < 60; i++) document.getElementById("step").click();
    })(document.getElementById("rate"))""")
    browser.value('document.getElementById("reset").click()')
    assert text(browser, "loss") == before
    assert browser.named("Log.entryAdded", "Runtime.exceptionThrown") == []


def test_a_step_lowers_the_loss_and_training_learns(page: Path, browser: Chromium) -> None:
    """Ten steps on an example lower its loss; the small network reads most of the other digits."""
    show(browser, page, "desktop", "light")
    before = float(text(browser, "loss"))
    browser.value("""for (let i = 0; i < 10; i++) document.getElementById("step").click()""")
    assert float(text(browser, "loss")) < before
    browser.value('document.getElementById("reset").click()')
    assert float(text(browser, "loss")) == before
    browser.value(TRAIN)
    accuracy = float(text(browser, "training").split()[-2])
    assert accuracy > 60
