"""Claims about the page of ``purenet explain``: what it holds, and what is refused."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import purenet
from purenet import Config
from purenet.cli.commands import main
from purenet.explanation.page import EXAMPLES, render
from purenet.files import checkpoints

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (400, 16), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 400)
PARAMS = purenet.init([16, 6, 5, 3], seed=1)
CFG = Config(l2=0.25, input_scale=0.01)


def content_of(page: str) -> dict[str, Any]:
    """Return the data of a page."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*)</script>', page)
    content: dict[str, Any] = json.loads(text)
    return content


def decoded(text: str, dtype: Any) -> Any:
    """Return the numbers of a text in base64."""
    return np.frombuffer(base64.b64decode(text), dtype)


@pytest.mark.parametrize(
    ("dtype", "kept"), [("float16", "<f4"), ("float32", "<f4"), ("float64", "<f8")]
)
def test_the_page_holds_the_network_bit_for_bit(dtype: str, kept: str) -> None:
    """Parameters keep their numbers; so do the scale of the input and the penalty."""
    params = {name: p.astype(dtype) for name, p in PARAMS.items()}
    content = content_of(render(params, (PIXELS, LABELS), CFG))
    for name, p in params.items():
        assert np.array_equal(decoded(content["params"][name], kept), p.ravel())
    assert content["sizes"] == [16, 6, 5, 3]
    assert (content["l2"], content["input_scale"]) == (0.25, 0.01)
    assert content["double"] == (dtype == "float64")


@pytest.mark.parametrize(("example", "start"), [(0, 0), (50, 50), (390, 100)])
def test_the_page_holds_examples_from_the_chosen_one_on(example: int, start: int) -> None:
    """Three hundred pictures and their labels, the last ones if fewer are left."""
    page = render(PARAMS, (PIXELS, LABELS), CFG, example=example)
    content = content_of(page)
    pixels = decoded(content["pixels"], np.uint8).reshape(-1, 16)
    assert np.array_equal(pixels, PIXELS[start : start + EXAMPLES])
    assert content["labels"] == LABELS[start : start + EXAMPLES].tolist()
    assert content["first"] == example - start
    assert f">{example}: {LABELS[example]}</option>" in page


@pytest.mark.parametrize(
    ("rate", "shown"), [(0.4, "-0.40"), (0, "0.00"), (1e-9, "-3.00"), (50, "0.50")]
)
def test_the_slider_of_the_rate_begins_at_that_of_the_training(rate: float, shown: str) -> None:
    """It is a power of ten between 10⁻³ and 10^½; a rate of 0 has none."""
    page = render(PARAMS, (PIXELS, LABELS), Config(learning_rate=rate))
    assert f'step="0.05" value="{shown}"' in page


def test_a_picture_comes_first_with_the_class_that_the_network_reads() -> None:
    """Without a picture the first example is shown."""
    assert content_of(render(PARAMS, (PIXELS, LABELS), CFG))["picture"] is None
    content = content_of(render(PARAMS, (PIXELS, LABELS), CFG, picture=PIXELS[7]))
    assert np.array_equal(decoded(content["picture"], np.uint8), PIXELS[7])
    assert content["label"] == purenet.predict(PARAMS, PIXELS[7:8], input_scale=0.01)[0]


def test_names_of_classes_are_shown_as_text() -> None:
    """A name that looks like HTML is no HTML."""
    names = ["<b>", "</script>", "é&"]
    page = render(PARAMS, (PIXELS, LABELS), CFG, classes=names)
    assert content_of(page)["classes"] == names
    assert '<option value="0">&lt;b&gt;</option>' in page
    assert page.count("</script>") == 2


def test_the_page_loads_nothing() -> None:
    """There is no address in it, and no import."""
    page = render(PARAMS, (PIXELS, LABELS), CFG)
    assert not re.findall(r"https?:|src=|@import|url\(|^import |^export ", page, re.MULTILINE)


def test_each_stage_shows_the_line_that_computes_it() -> None:
    """File and number lead to a line of the source with this text."""
    page = render(PARAMS, (PIXELS, LABELS), CFG)
    shown = re.findall(r'<code class="line" title="(\w+\.py)">\1:(\d+)&ensp;(.*?)</code>', page)
    assert len({number for _, number, _ in shown}) == 11
    for file, number, text in shown:
        source = (Path(purenet.__file__).parent / file).read_text(encoding="utf-8").splitlines()
        line = source[int(number) - 1].strip()
        escaped = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert escaped.replace('"', "&#34;").replace("'", "&#39;") == text


@pytest.mark.parametrize(
    ("params", "pixels", "example", "message"),
    [
        (purenet.init([15, 4, 3]), PIXELS[:, :15], 0, "a square number of inputs .* got 15-4-3"),
        (purenet.init([16, 3]), PIXELS, 0, "with hidden layers, got 16-3"),
        (PARAMS, PIXELS / 255, 0, "examples in 8-bit pixels, got float64"),
        (
            purenet.init([16, 20_000, 100, 3]),
            PIXELS,
            0,
            "at most 2,000,000 parameters, got 16-20000",
        ),
        ({k: p * np.nan for k, p in PARAMS.items()}, PIXELS, 0, "params must be finite, got NaN"),
        (PARAMS, PIXELS, 400, "example must be from 0 to 399, got 400"),
        (PARAMS, PIXELS, -1, "example must be from 0 to 399, got -1"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    params: Any, pixels: Any, example: int, message: str
) -> None:
    """The error says what a page needs."""
    with pytest.raises(ValueError, match=message):
        render(params, (pixels, LABELS), CFG, example=example)


def test_the_command_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has the network, its names, test examples of the data, and a picture if one is given."""
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:9], y_test=LABELS[:9])
    checkpoints.save("m.safetensors", PARAMS, CFG, classes=["a", "b", "c"])
    explain = ["explain", "m.safetensors", "--data", "data.npz"]
    assert main([*explain, "--example", "2", "--output", "page.html"]) == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert capsys.readouterr().out == f"page.html: {len(page.encode()):,} bytes\n"
    data = PIXELS[:9], LABELS[:9]
    assert page == render(PARAMS, data, CFG, example=2, classes=["a", "b", "c"])
    np.save("one.npy", PIXELS[5])
    assert main([*explain, "--image", "one.npy"]) == 0
    page = Path("explain.html").read_text(encoding="utf-8")
    assert page == render(PARAMS, data, CFG, picture=PIXELS[5], classes=["a", "b", "c"])
