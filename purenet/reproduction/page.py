"""The page: sentences and tables that follow the results, in one HTML file."""

import base64
import math
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from purenet.reproduction.experiments import CLOSE
from purenet.reproduction.findings import Findings
from purenet.reproduction.published import AMBIGUITIES, INIT_SCALE, SIZES
from purenet.reproduction.questions import GOAL
from purenet.reproduction.trainings import MeanStd

__all__ = ["render"]

THIN = "\u202f"  # a narrow space that does not break


def render(
    findings: Findings,
    figures: dict[str, str],
    folder: Path,
    *,
    environment: dict[str, Any],
    command: str,
) -> str:
    """Write the page as one HTML document that loads nothing.

    Parameters
    ----------
    findings : Findings
        All results.
    figures : dict of str
        File names of the figures.
    folder : Path
        Folder of these files.
    environment : dict
        The machine and the versions of libraries.
    command : str
        The command that makes the page.

    Returns
    -------
    str
        HTML.
    """
    images = {name: _inline(folder / file) for name, file in figures.items()}
    return _template().render(
        findings=findings,
        images=images,
        environment=environment,
        command=command,
        ambiguities=AMBIGUITIES,
        sizes=SIZES,
        init_scale=INIT_SCALE,
        close=CLOSE,
        goal=GOAL,
    )


def _inline(path: Path) -> str:
    """Return a picture as an address that holds it."""
    kind = {".png": "image/png", ".svg": "image/svg+xml"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


@cache
def _template() -> Template:
    """Compile the template, which takes longer than to fill it in."""
    env = Environment(
        loader=PackageLoader("purenet.reproduction", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "bound": _bound,
        "count": "{:,}".format,
        "fixed": _fixed,
        "percent": _percent,
        "seconds": _seconds,
        "signed": _signed,
    }
    return env.get_template("page.html.j2")


def _fixed(value: Any, digits: int = 4, scale: float = 1) -> str:
    if isinstance(value, MeanStd):
        mean = _fixed(value.mean, digits, scale)
        return mean if value.std is None else f"{mean} ± {_fixed(value.std, digits, scale)}"
    return "–" if value is None else f"{scale * value:.{digits}f}"


def _signed(value: float, digits: int = 4) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _percent(value: Any, digits: int = 2) -> str:
    text = _fixed(value, digits, scale=100)
    return text if value is None else f"{text}{THIN}%"


def _bound(value: float) -> str:
    """Return a percentage that is rounded up, so that what is within `value` is within it too."""
    return f"{math.ceil(1000 * value) / 10:.1f}{THIN}%"


def _seconds(value: Any) -> str:
    if isinstance(value, MeanStd):
        std = "" if value.std is None else f" ± {value.std:.2g}{THIN}s"
        return _seconds(value.mean) + std
    return f"{value:.3g}{THIN}s"
