"""Draw digits in other ways than MNIST's, and measure how many of them a trained network reads.

    apt install fonts-dejavu fonts-liberation fonts-freefont-ttf fonts-lato fonts-comic-neue \
        fonts-humor-sans fonts-breip fonts-dkg-handwriting fonts-femkeklaver
    python -m benchmarks.pictures RUN [--output FOLDER]

RUN is the folder of a run of ``purenet train``. The pictures are left in FOLDER.
"""

import argparse
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import purenet
from benchmarks.report import table
from purenet.files import checkpoints, datasets
from purenet.files.ink import normalise

Grey = NDArray[np.uint8]

FONTS = {
    "DejaVu Sans": "DejaVuSans.ttf",
    "DejaVu Serif": "DejaVuSerif.ttf",
    "Liberation Sans": "LiberationSans-Regular.ttf",
    "Liberation Mono": "LiberationMono-Regular.ttf",
    "Free Serif": "FreeSerif.ttf",
    "Lato Light": "Lato-Light.ttf",
    "Comic Neue": "ComicNeue-Regular.otf",
    "Humor Sans": "Humor-Sans.ttf",
    "Breip": "Breip.ttf",
    "DKG handwriting": "dkg.ttf",
    "Femke Klaver, in outlines": "femkeklaver.ttf",
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
    face = ImageFont.truetype(font, size)  # looks in the folders of the system
    ImageDraw.Draw(picture).text((size, size), str(digit), 255, face, anchor="mm")
    return picture


def photographed(ink: Image.Image, rng: np.random.Generator) -> bytes:
    """Return ink as a JPEG: dark on light, turned, off-centre, unevenly lit, with noise."""
    ink = ink.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC)
    ink = ink.crop(ink.getbbox())
    scale = rng.uniform(0.25, 1)
    ink = ink.resize([max(1, round(n * scale)) for n in ink.size])
    width, height = (round(n + ink.height * rng.uniform(0.4, 2)) for n in ink.size)
    left, top = (
        int(rng.integers(1, a - b)) for a, b in zip((width, height), ink.size, strict=True)
    )
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
    """Yield 140 pictures: how each was drawn, its digit, and its JPEG file."""
    rng = np.random.default_rng(seed)
    for digit in range(10):
        for name, font in FONTS.items():
            yield name, digit, photographed(typeset(digit, font), rng)
        for name, width in WIDTHS.items():
            yield f"strokes, {name}", digit, photographed(stroked(digit, width, rng), rng)


def resized(grey: Grey, *, invert: bool) -> Grey:
    """Return a picture scaled to the square, which is all that `predict` did before."""
    small = np.asarray(Image.fromarray(grey).resize((28, 28), Image.Resampling.LANCZOS))
    return ~small if invert else small


def cut_out(grey: Grey) -> Grey:
    """Return the character in a picture, or an empty picture if none is found or several are."""
    try:
        return normalise(grey)[0, :, :]
    except ValueError:
        return np.zeros((28, 28), np.uint8)


def enlarged(digit: Grey, factor: int) -> Grey:
    """Return a digit of MNIST, dark on light, so many times as large."""
    size = 28 * factor, 28 * factor
    return np.asarray(Image.fromarray(255 - digit).resize(size, Image.Resampling.BICUBIC))


def main() -> None:
    """Print accuracies as tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    params, cfg = checkpoints.load(args.run)[:2]

    def read(pictures: list[Grey]) -> NDArray[np.int64]:
        x = np.stack(pictures).reshape(-1, 784)
        labels = purenet.predict(params, x, input_scale=cfg.input_scale)
        return np.where(x.any(axis=1), labels, -1)  # what is refused is wrong

    names, labels, files = zip(
        *(d for seed in range(args.seeds) for d in drawings(seed)), strict=True
    )
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        for i, (name, label, file) in enumerate(zip(names, labels, files, strict=True)):
            (args.output / f"{i:03}-{label}-{name.replace(' ', '-')}.jpg").write_bytes(file)
    grey = [np.asarray(Image.open(io.BytesIO(file))) for file in files]
    ways: dict[str, Callable[[Grey], Grey]] = {
        "resized": lambda g: resized(g, invert=False),
        "resized, inverted": lambda g: resized(g, invert=True),
        "cut out": cut_out,
    }
    hits = {way: read([prepare(g) for g in grey]) == labels for way, prepare in ways.items()}
    kinds = np.array(names)
    rows = [(kind, kinds == kind) for kind in dict.fromkeys(names)] + [("all", kinds != "")]
    print(
        table(
            ["drawn by", "pictures", *hits],
            (
                [kind, str(chosen.sum()), *(f"{hit[chosen].mean():.1%}" for hit in hits.values())]
                for kind, chosen in rows
            ),
        )
    )
    x, y = datasets.mnist()[1]
    digits = x.reshape(-1, 28, 28)
    ways = {
        "as it is": lambda g: normalise(g)[0],
        "dark on light": lambda g: cut_out(255 - g),
        "dark on light, 4 times as large": lambda g: cut_out(enlarged(g, 4)),
    }
    accuracies = ((way, (read([f(d) for d in digits]) == y).mean()) for way, f in ways.items())
    print(table(["MNIST's test images", "accuracy"], ([w, f"{a:.2%}"] for w, a in accuracies)))


if __name__ == "__main__":
    main()
