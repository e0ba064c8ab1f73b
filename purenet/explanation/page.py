"""Make the page: a network, some examples, lines of its source, and the program, in one file."""

import base64
import inspect
import json
import math
import re
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray

from purenet import network, optim
from purenet.config import Config
from purenet.evaluation import predict
from purenet.params import A, check_classes, check_data, params_as_numpy, sizes

__all__ = ["EXAMPLES", "render"]

EXAMPLES = 300
"""The number of examples that a page holds."""

LARGEST = 2_000_000
"""The most parameters of a page, whose size is six bytes for each in float32."""

# What stands in the one line of a module that computes a stage.
LINES = {
    "z": (network, "z = a[-1] @ W + b"),
    "a": (network, "a.append(z * _positive(z))"),
    "logits": (network, "a[-1] @ W_L + b_L"),
    "log_softmax": (network, "return z - xp.log("),
    "loss": (network, "value = -xp.mean("),
    "delta_L": (network, "xp.astype(t, log_p.dtype)) / n"),
    "delta": (network, "delta = (delta @ W.T)"),
    "W_gradient": (network, 'grads[f"W{k}"] ='),
    "b_gradient": (network, 'grads[f"b{k}"] ='),
    "velocity": (optim, "velocity = {name: beta"),
    "step": (optim, "p - eta * velocity[name]"),
}


class Line(NamedTuple):
    """Hold a line of source: its file, its number and its text."""

    file: str
    number: int
    text: str


def render(
    params: dict[str, A],
    data: tuple[NDArray[Any], NDArray[Any]],
    cfg: Config,
    *,
    example: int = 0,
    picture: NDArray[np.uint8] | None = None,
    classes: list[str] | None = None,
) -> str:
    """Return a page that shows one example on its way through a network. It loads nothing.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL, with hidden layers and a square number of inputs.
    data : (array, array)
        Examples in 8-bit pixels and labels. The page holds `EXAMPLES` of them, from `example` on if
        there are so many.
    cfg : Config
        The configuration of the training: its scale of pixels, penalty, rate and momentum.
    example : int
        The number of the example to begin with.
    picture : numpy.ndarray of uint8, shape (features,), optional
        Pixels of a picture to begin with, in place of the first example.
    classes : list of str, optional
        The names of the classes.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    ValueError
        Arguments that are not as described above.

    Examples
    --------
    >>> from purenet import init
    >>> pixels, y = np.zeros((5, 16), np.uint8), np.arange(5) % 3
    >>> page = render(init([16, 8, 3]), (pixels, y), Config())
    >>> page.startswith("<!doctype html>"), "fetch(" in page
    (True, False)
    """
    arrays = params_as_numpy(params)
    check_data(params, data)
    pixels, labels = data
    units = sizes(params)
    side = math.isqrt(units[0])
    if side * side != units[0] or len(units) < 3:
        raise ValueError(
            "the page shows networks with a square number of inputs and with hidden layers, "
            f"got {'-'.join(map(str, units))}"
        )
    if sum(p.size for p in arrays.values()) > LARGEST:
        raise ValueError(
            f"the page shows networks of at most {LARGEST:,} parameters, "
            f"got {'-'.join(map(str, units))}"
        )
    if pixels.dtype != np.uint8:
        raise ValueError(f"the page shows examples in 8-bit pixels, got {pixels.dtype}")
    if not 0 <= example < len(pixels):
        raise ValueError(f"example must be from 0 to {len(pixels) - 1}, got {example}")
    names = (
        [str(k) for k in range(units[-1])] if classes is None else check_classes(params, classes)
    )
    dtype = np.promote_types(arrays["W1"].dtype, np.float32)
    start = max(0, min(example, len(pixels) - EXAMPLES))
    chosen = slice(start, start + EXAMPLES)
    content = {
        "sizes": units,
        "params": {name: _base64(p.astype(dtype)) for name, p in arrays.items()},
        "double": dtype == np.float64,
        "classes": names,
        "l2": cfg.l2,
        "input_scale": cfg.input_scale,
        "pixels": _base64(pixels[chosen]),
        "labels": labels[chosen].tolist(),
        "first": example - start,
        "picture": None,
    }
    if picture is not None:  # its label is what the network reads, until the reader chooses another
        label = int(predict(params, picture[None], input_scale=cfg.input_scale)[0])
        content |= {"picture": _base64(picture), "label": label}
    environment = Environment(
        loader=PackageLoader("purenet.explanation", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["subscripts"] = _subscripts
    return environment.get_template("page.html.j2").render(
        units=units,
        side=side,
        classes=names,
        labels=content["labels"],
        start=start,
        cfg=cfg,
        log10_rate=min(max(math.log10(cfg.learning_rate or 1), -3), 0.5),
        data=json.dumps(content).replace("<", "\\u003c"),
        program=_program(),
        lines={stage: _line(*place) for stage, place in LINES.items()},
    )


def _subscripts(text: str) -> Markup:
    """Return HTML in which the digits after _ stand below the line."""
    return Markup(re.sub("_([0-9]+)", r"<sub>\1</sub>", str(escape(text))))


def _base64(array: NDArray[Any]) -> str:
    little = array.astype(array.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode()


def _line(module: Any, part: str) -> Line:
    """Return the line of a module with this part."""
    (found,) = [
        Line(f"{module.__name__.rpartition('.')[2]}.py", number, text.strip())
        for number, text in enumerate(inspect.getsource(module).splitlines(), start=1)
        if part in text
    ]
    return found


def _program() -> str:
    """Return the modules of the page as one: without their imports and exports of each other."""
    folder = resources.files("purenet.explanation")
    text = "\n".join(
        folder.joinpath(name).read_text(encoding="utf-8")
        for name in ("network.mjs", "drawing.mjs", "page.mjs")
    )
    lines = (line.removeprefix("export ") for line in text.splitlines())
    return "\n".join(line for line in lines if not line.startswith("import "))
