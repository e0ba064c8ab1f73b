"""Read pictures and arrays as input of a network."""

import os
import warnings
import zipfile
from math import isqrt
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from purenet.extras import require
from purenet.files import reading

__all__ = ["read"]

PIXELS = 1 << 26
"""The most pixels of a picture: 67 million. Blending them needs a gigabyte of memory."""


def read(path: str | os.PathLike[str], features: int, *, invert: bool = False) -> NDArray[Any]:
    """Read a picture, or an array of examples, as the input of a network.

    A picture is resized to the square that the network takes, and becomes one row of 8-bit grey
    values, light on dark as in MNIST. Files are not trusted: nothing is unpickled, at most 4 GiB
    are unpacked from an .npz file, and a picture may have at most 67,108,864 pixels.

    Parameters
    ----------
    path : path-like
        An .npy file, an .npz file of one array, or a PNG or JPEG picture (which needs the extra
        ``images``).
    features : int
        Number of inputs of the network.
    invert : bool
        Whether the picture is dark on light.

    Returns
    -------
    numpy.ndarray, shape (n, features)
        Real numbers, as x of `purenet.predict`.

    Raises
    ------
    ValueError
        A file that cannot be read as the network's input.
    ImportError
        Pillow is missing and the file is a picture.
    OSError
        A file that cannot be opened.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    with reading.open_regular(path) as file:
        try:
            if suffix == ".npy":
                length = os.fstat(file.fileno()).st_size
                return _as_examples(reading.read_npy(file, length), features)
            if suffix == ".npz":
                return _as_examples(_read_npz(file), features)
            return _read_picture(file, features, invert=invert)
        except ImportError:
            raise
        except Exception as error:  # NumPy, zipfile and Pillow raise many types for damaged files
            raise ValueError(f"{path} cannot be read: {error}") from error


def _read_npz(file: IO[bytes]) -> NDArray[Any]:
    with zipfile.ZipFile(file) as archive:
        members = reading.members(archive)
        if len(members) != 1:
            raise ValueError(f"expected one array, got {', '.join([*members][:10]) or 'none'}")
        return reading.read_member(archive, *members.values())


def _as_examples(array: NDArray[Any], features: int) -> NDArray[Any]:
    n = 1 if array.size == features else len(np.atleast_1d(array))
    if not 0 < array.size == n * features:
        raise ValueError(
            f"expected real numbers of shape (n, {features}) with n >= 1, "
            f"got {array.dtype} of shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError("expected finite numbers, got NaN or infinity")
    return array.reshape(n, features)


def _read_picture(file: IO[bytes], features: int, *, invert: bool) -> NDArray[Any]:
    require("pictures", "images", "PIL")
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415

    side = isqrt(features)
    if side * side != features:
        raise ValueError(f"a picture needs a square number of inputs, the network has {features}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            opened = Image.open(file, formats=["PNG", "JPEG"])
        except UnidentifiedImageError:
            raise ValueError("expected a PNG or JPEG picture, or an .npy or .npz file") from None
        width, height = opened.size
        if width * height > PIXELS:  # checked before any pixel is decoded
            raise ValueError(f"expected at most {PIXELS} pixels, got {width} × {height}")
        picture = ImageOps.exif_transpose(opened)
        if picture.mode.startswith("I"):  # 16 bits: convert("L") would clip them at 255
            picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        # Transparent pixels show the background.
        background = Image.new("RGBA", picture.size, "white" if invert else "black")
        grey = Image.alpha_composite(background, picture.convert("RGBA")).convert("L")
        pixels = np.asarray(grey.resize((side, side), Image.Resampling.LANCZOS))
    return (255 - pixels if invert else pixels).reshape(1, features)
