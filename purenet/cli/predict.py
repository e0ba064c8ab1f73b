"""The command ``purenet predict``: the class of each picture and its probability."""

import argparse
import os
from pathlib import Path

import numpy as np

import purenet
from purenet.cli.signals import Signals
from purenet.files import checkpoints, pictures
from purenet.params import sizes

__all__ = ["add_options", "predict"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of the command.
    """
    option = parser.add_argument
    option("images", nargs="+", metavar="IMAGE", help="PNG or JPEG picture, .npy or .npz array")
    option(
        "--invert",
        action=argparse.BooleanOptionalAction,
        help="pictures are dark on light, or with --no-invert light on dark [found in the picture]",
    )
    option(
        "--split",
        action="store_true",
        help="read several characters in one picture, from left to right",
    )
    option(
        "--show",
        nargs="?",
        const=True,
        type=_png,
        metavar="FILE.png",
        help="draw what the network sees: in the terminal if --show stands last, or in a new file "
        "whose name follows",
    )


def _png(text: str) -> Path:
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(
            f"expected a file that ends in .png, or nothing after the last IMAGE, got {text!r}"
        )
    path = Path(text)
    if os.path.lexists(path):  # perhaps an IMAGE that stands after the option
        raise argparse.ArgumentTypeError(
            f"{path} exists already: name a new file, or put --show last to draw in the terminal"
        )
    return path


def predict(args: argparse.Namespace, _: Signals) -> None:
    """Print the predicted class of each image, and its probability.

    Parameters
    ----------
    args : argparse.Namespace
        The options.
    _ : Signals
        Not used: the command prints and writes at its end.

    Raises
    ------
    ValueError
        A model or an image that cannot be read.
    OSError
        A file that cannot be opened.
    """
    model = checkpoints.load(args.model)
    params, cfg, classes = model.params, model.cfg, model.classes
    seen = [
        pictures.read(path, sizes(params)[0], invert=args.invert, split=args.split)
        for path in args.images
    ]
    lines = []
    for path, x in zip(args.images, seen, strict=True):
        p = purenet.predict_proba(params, x, input_scale=cfg.input_scale)
        for i, row in enumerate(p):
            if args.show is True:
                lines.append(pictures.as_text(x[i]))
            name = path if len(p) == 1 else f"{path}[{i}]"
            label = int(row.argmax())
            lines.append(f"{name}: {classes[label] if classes else label} {row.max():.1%}")
    if isinstance(args.show, Path):
        pictures.write_png(args.show, np.concatenate(seen))
    print("\n".join(lines))
