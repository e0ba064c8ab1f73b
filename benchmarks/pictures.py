"""Draw digits in other ways than MNIST's, and measure how many of them a trained network reads.

    apt install fonts-dejavu fonts-liberation fonts-freefont-ttf fonts-lato fonts-comic-neue \
        fonts-humor-sans fonts-breip fonts-femkeklaver
    python -m benchmarks.pictures MODEL [FOLDER]

MODEL is the folder of a run of ``purenet train``. The pictures are left in FOLDER if it is given.
"""

import argparse
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import purenet
from benchmarks.report import table
from purenet.files import pictures

FONTS = {
    "DejaVu Sans": "dejavu/DejaVuSans.ttf",
    "DejaVu Serif": "dejavu/DejaVuSerif.ttf",
    "Liberation Sans": "liberation/LiberationSans-Regular.ttf",
    "Liberation Mono": "liberation/LiberationMono-Regular.ttf",
    "Free Serif": "freefont/FreeSerif.ttf",
    "Lato Light": "lato/Lato-Light.ttf",
    "Comic Neue": "opentype/comic-neue/ComicNeue-Regular.otf",
    "Humor Sans": "humor-sans/Humor-Sans.ttf",
    "Breip": "breip/Breip.ttf",
    "Femke Klaver": "femkeklaver/femkeklaver.ttf",
}
WIDTHS = {"thin": 0.03, "medium": 0.07, "thick": 0.14}  # of a stroke, in heights of the digit


def arc(
    x: float, y: float, rx: float, ry: float, start: float, end: float
) -> list[tuple[float, float]]:
    """Return points of an ellipse about (x, y). Angles are in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 40))
    return [(x + rx * np.cos(a), y + ry * np.sin(a)) for a in angles]


# Each digit is some strokes in the box from (0, 0), top left, to (0.6, 1).
STROKES = {
    0: [arc(0.3, 0.5, 0.28, 0.5, 0, 360)],
    1: [[(0.15, 0.2), (0.35, 0), (0.33, 1)]],
    2: [[*arc(0.3, 0.28, 0.27, 0.28, 190, 390), (0.02, 0.98), (0.6, 0.96)]],
    3: [[*arc(0.28, 0.25, 0.27, 0.25, 200, 450), *arc(0.28, 0.74, 0.31, 0.26, 270, 510)]],
    4: [[(0.32, 0), (0.02, 0.62), (0.6, 0.6)], [(0.46, 0.25), (0.42, 1)]],
    5: [[(0.55, 0), (0.1, 0.02), (0.06, 0.45), *arc(0.26, 0.69, 0.3, 0.31, 230, 500)]],
    6: [[(0.45, 0), (0.2, 0.25), *arc(0.29, 0.73, 0.27, 0.27, 190, -180)]],
    7: [[(0.02, 0.03), (0.58, 0), (0.3, 0.5), (0.2, 1)]],
    8: [[*arc(0.3, 0.24, 0.22, 0.24, 90, 450), *arc(0.3, 0.74, 0.28, 0.26, 270, 630)]],
    9: [[*arc(0.29, 0.27, 0.26, 0.27, 0, 360), (0.53, 0.5), (0.42, 1)]],
}


def stroked(digit: int, width: float, rng: np.random.Generator, size: int = 200) -> Image.Image:
    """Return a digit as a pen of this width draws it, ink 255 on 0, each point a little off."""
    margin = size // 4
    picture = Image.new("L", (size + 2 * margin, size + 2 * margin))
    draw, radius = ImageDraw.Draw(picture), max(1, round(width * size / 2))
    shear, drift = rng.normal(0, 0.1), rng.normal(0, 0.015, (2, 8))
    for stroke in STROKES[digit]:
        x, y = np.array(stroke).T
        t = np.linspace(0, 7, len(x))
        x = x + shear * (0.5 - y) + np.interp(t, np.arange(8), drift[0])
        y = y + np.interp(t, np.arange(8), drift[1])
        points = [(margin + size * (u + 0.2), margin + size * v) for u, v in zip(x, y, strict=True)]
        draw.line(points, 255, 2 * radius, joint="curve")
        for u, v in points:
            draw.ellipse((u - radius, v - radius, u + radius, v + radius), 255)
    return picture


def typeset(digit: int, font: str, size: int = 200) -> Image.Image:
    """Return a digit as a font draws it, ink 255 on 0."""
    picture = Image.new("L", (2 * size, 2 * size))
    face = ImageFont.truetype(f"/usr/share/fonts/{font}", size)
    ImageDraw.Draw(picture).text((size, size), str(digit), 255, face, anchor="mm")
    return picture


def photographed(ink: Image.Image, rng: np.random.Generator) -> bytes:
    """Return ink as a JPEG: dark on light, turned, off-centre, unevenly lit, with noise."""
    ink = ink.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC)
    ink = ink.crop(ink.getbbox())
    scale = rng.uniform(0.25, 1)
    ink = ink.resize([max(1, round(n * scale)) for n in ink.size])
    width, height = (round(n + ink.height * rng.uniform(0.4, 2)) for n in ink.size)
    left, top = (int(rng.integers(1, a - b)) for a, b in zip((width, height), ink.size, strict=True))
    paper = np.zeros((height, width))
    paper[top : top + ink.height, left : left + ink.width] = np.asarray(ink) / 255
    v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    light = 0.75 + 0.2 * (u * np.cos(angle) + v * np.sin(angle)) / np.sqrt(2)
    grey = light * (1 - rng.uniform(0.5, 0.9) * paper) + rng.normal(0, 0.01, paper.shape)
    file = io.BytesIO()
    Image.fromarray((grey.clip(0, 1) * 255).astype(np.uint8)).save(file, "JPEG", quality=60)
    return file.getvalue()


def drawings(seed: int = 0) -> Iterator[tuple[str, int, bytes]]:
    """Yield 130 pictures: how each was drawn, its digit, and its file."""
    rng = np.random.default_rng(seed)
    for digit in range(10):
        for name, font in FONTS.items():
            yield name, digit, photographed(typeset(digit, font), rng)
        for name, width in WIDTHS.items():
            yield f"strokes, {name}", digit, photographed(stroked(digit, width, rng), rng)
