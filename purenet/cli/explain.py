"""The command ``purenet explain``: a page on which one sees a network at work."""

import argparse
from pathlib import Path

from purenet.cli.signals import Signals
from purenet.extras import require
from purenet.files import checkpoints, datasets, pictures
from purenet.files.writing import write
from purenet.params import sizes

__all__ = ["add_options", "explain"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of the command.
    """
    first = parser.add_mutually_exclusive_group()
    first.add_argument(
        "--example", type=int, default=0, metavar="N", help="the first test example [0]"
    )
    first.add_argument("--image", type=Path, metavar="FILE", help="begin with this picture")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("explain.html"),
        metavar="FILE",
        help="the page [explain.html]",
    )


def explain(args: argparse.Namespace, _: Signals) -> None:
    """Write a page about a network.

    Parameters
    ----------
    args : argparse.Namespace
        The options.
    _ : Signals
        Not used: the page is written at once.

    Raises
    ------
    ValueError
        A model, data or a picture that cannot be read or shown.
    OSError
        A file that cannot be read or written.
    ImportError
        Jinja2 is missing, or Pillow for a picture.
    """
    require("explanations", "explain", "jinja2")
    from purenet.explanation.page import render  # noqa: PLC0415  # needs the extra `explain`

    model = checkpoints.load(args.model)
    test = datasets.load(args.data)[1]
    picture = None
    if args.image:
        (picture,) = pictures.read(args.image, sizes(model.params)[0])
    page = render(
        model.params,
        test,
        model.cfg,
        example=args.example,
        picture=picture,
        classes=model.classes,
    ).encode()
    write(args.output, page)
    print(f"{args.output}: {len(page):,} bytes")
