"""Pictures and arrays as input of a network."""

import os
import warnings
import zipfile
from math import isqrt
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from purenet.files import reading

__all__ = ["read"]

PIXELS = 1 << 26
"""The most pixels of a picture: 67 million, which take a gigabyte while they are composed."""


def read(path: str | os.PathLike[str], features: int, *, invert: bool = False) -> npt.NDArray[Any]:
    """Read a picture, or an array of examples, as the input of a network.

    A picture becomes one row of 8-bit grey values, light ink on dark ground as in MNIST, resized to
    the square that the network takes. Files are not believed: nothing is unpickled, at most 4 GiB
    are unpacked from an .npz file, and a picture has at most 67,108,864 pixels.

    Parameters
    ----------
    path : path-like
        A .npy file, a .npz file of one array, or a picture (which needs the extra ``images``).
    features : int
        Inputs of the network.
    invert : bool
        Whether the picture is dark on light.

    Returns
    -------
    numpy.ndarray, shape (examples, features)
        As `purenet.epochs` takes x.

    Raises
    ------
    ValueError
        A file that cannot be read as the network's input.
    ImportError
        A picture, and Pillow is missing.
    OSError
        A file that cannot be opened.
    """
    path = Path(path)
    ending = path.suffix.lower()
    with reading.open_regular(path) as file:
        try:
            if ending == ".npy":
                length = os.fstat(file.fileno()).st_size
                return _as_examples(reading.read_npy(file, length), features)
            if ending == ".npz":
                return _as_examples(_read_npz(file), features)
            return _read_picture(file, features, invert=invert)
        except ImportError:
            raise
        except Exception as error:  # damaged files make NumPy, zipfile and Pillow raise many types
            raise ValueError(f"{path} cannot be read: {error}") from error


def _read_npz(file: IO[bytes]) -> npt.NDArray[Any]:
    with zipfile.ZipFile(file) as archive:
        found = reading.members(archive)
        if len(found) != 1:
            raise ValueError(f"expected one array, got {', '.join([*found][:10]) or 'none'}")
        return reading.read_member(archive, *found.values())


def _as_examples(array: npt.NDArray[Any], features: int) -> npt.NDArray[Any]:
    n = 1 if array.size == features else len(np.atleast_1d(array))
    if not 0 < array.size == n * features:
        raise ValueError(
            f"expected real numbers of shape (n, {features}) with n >= 1, "
            f"got {array.dtype} of shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError("expected finite numbers, got NaN or infinity")
    return array.reshape(n, features)


def _read_picture(file: IO[bytes], features: int, *, invert: bool) -> npt.NDArray[Any]:
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415
    except ImportError:
        raise ImportError("pictures need Pillow: pip install 'purenet[images]'") from None
    side = isqrt(features)
    if side * side != features:
        raise ValueError(f"a network of {features} inputs takes no square picture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            opened = Image.open(file, formats=["PNG", "JPEG"])
        except UnidentifiedImageError:
            raise ValueError("expected a PNG or JPEG picture, or an .npy or .npz file") from None
        width, height = opened.size
        if width * height > PIXELS:  # nothing of them is unpacked yet
            raise ValueError(f"expected at most {PIXELS} pixels, got {width} × {height}")
        picture = ImageOps.exif_transpose(opened)
        if picture.mode.startswith("I"):  # 16 bits, which convert("L") would cut off at 255
            picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        # What is transparent shows the ground, light or dark.
        ground = Image.new("RGBA", picture.size, "white" if invert else "black")
        grey = Image.alpha_composite(ground, picture.convert("RGBA")).convert("L")
        pixels = np.asarray(grey.resize((side, side), Image.Resampling.LANCZOS))
    return (255 - pixels if invert else pixels).reshape(1, features)
