"""The command ``purenet predict``: the class of each picture and its probability."""

import argparse
from pathlib import Path

import numpy as np

import purenet
from purenet.cli.signals import Signals
from purenet.files import checkpoints, pictures
from purenet.params import sizes

__all__ = ["add_options", "predict"]

TERMINAL = Path()


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
        const=TERMINAL,
        type=_png,
        metavar="FILE.png",
        help="draw what the network sees, in the terminal or in a picture file",
    )


def _png(text: str) -> Path:
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(
            f"expected a file that ends in .png, or nothing after the last IMAGE, got {text!r}"
        )
    return Path(text)


def predict(args: argparse.Namespace, _: Signals) -> None:
    """Print the predicted class of each image, and its probability.

    Parameters
    ----------
    args : argparse.Namespace
        The options.
    _ : Signals
        Not used: the command writes nothing before its end.

    Raises
    ------
    ValueError
        A model or an image that cannot be read.
    OSError
        A file that cannot be opened.
    """
    model = checkpoints.load(args.model)
    params, cfg, classes = model.params, model.cfg, model.classes
    seen = []
    for path in args.images:
        x = pictures.read(path, sizes(params)[0], invert=args.invert, split=args.split)
        p = purenet.predict_proba(params, x, input_scale=cfg.input_scale)
        for i, row in enumerate(p):
            if args.show == TERMINAL:
                print(pictures.as_text(x[i]))
            name = path if len(p) == 1 else f"{path}[{i}]"
            label = int(row.argmax())
            print(f"{name}: {classes[label] if classes else label} {row.max():.1%}")
        seen.append(x)
    if args.show not in {None, TERMINAL}:
        pictures.write_png(args.show, np.concatenate(seen))
