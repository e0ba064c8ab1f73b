"""The command ``purenet export``: a network in the formats of other tools."""

import argparse
from pathlib import Path

from safetensors.numpy import save

from purenet.cli.signals import Signals
from purenet.export import OPSET, to_onnx, to_state_dict
from purenet.files import checkpoints
from purenet.files.writing import write

__all__ = ["add_options", "export"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of the command.
    """
    option = parser.add_argument
    option(
        "--onnx",
        type=Path,
        metavar="FILE",
        help=f"write an ONNX model (opset {OPSET}) from 8-bit pixels to logits, probabilities and "
        "label",
    )
    option(
        "--floats",
        action="store_true",
        help="let the input of the ONNX model be floating-point numbers, as in training on them",
    )
    option(
        "--torch",
        type=Path,
        metavar="FILE",
        help="write a state dictionary of PyTorch's nn.Sequential as safetensors",
    )


def export(args: argparse.Namespace, _: Signals) -> None:
    """Write a network to files of other formats, each whole or not at all.

    Parameters
    ----------
    args : argparse.Namespace
        The options.
    _ : Signals
        Not used: each file is written at once.

    Raises
    ------
    ValueError
        A model that cannot be read, or no format.
    OSError
        A file that cannot be read or written.
    ImportError
        onnx is missing.
    """
    if not (args.onnx or args.torch):
        raise ValueError("expected --onnx FILE or --torch FILE")
    for target in (args.onnx, args.torch):
        source = args.model / checkpoints.MODEL if args.model.is_dir() else args.model
        if target and target.exists() and source.exists() and target.samefile(source):
            raise ValueError(f"{target} is the network itself: name another file")
    if args.onnx == args.torch:
        raise ValueError(f"--onnx and --torch need two files, got {args.onnx} twice")
    model = checkpoints.load(args.model)
    if args.onnx:
        scale = None if args.floats else model.cfg.input_scale
        proto = to_onnx(model.params, input_scale=scale, classes=model.classes, cfg=model.cfg)
        _write(args.onnx, proto.SerializeToString(deterministic=True))
    if args.torch:
        # One key of metadata, since safetensors writes several in no fixed order.
        _write(args.torch, save(to_state_dict(model.params), {"format": "pt"}))


def _write(path: Path, content: bytes) -> None:
    write(path, content)
    print(f"{path}: {len(content):,} bytes")
