"""Read pictures and arrays as input of a network, and draw what the network sees."""

import os
import warnings
from io import BytesIO
from math import isqrt
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from purenet.extras import require
from purenet.files import reading
from purenet.files.ink import normalise
from purenet.files.writing import write

__all__ = ["as_text", "normalise", "read", "write_png"]

PIXELS = 1 << 26
"""The most pixels of a picture: 67 million. Blending them needs a gigabyte of memory."""

SHADES = " .:-=+*#%@"


def read(
    path: str | os.PathLike[str],
    features: int,
    *,
    invert: bool | None = None,
    split: bool = False,
) -> NDArray[Any]:
    """Read a picture, or an array of examples, as the input of a network.

    A character in a picture is cut out and centred as in MNIST (`normalise`), and becomes a row of
    8-bit grey values. Arrays stay as they are. Files are not trusted: nothing is unpickled, at most
    4 GiB are unpacked from an .npz file, and a picture may have at most 67,108,864 pixels.

    Parameters
    ----------
    path : path-like
        An .npy file, an .npz file of one array, or a PNG or JPEG picture (which needs the extra
        ``images``).
    features : int
        Number of inputs of the network.
    invert : bool, optional
        Whether the picture is dark on light. By default the picture itself tells.
    split : bool
        Whether a picture may hold several characters side by side. Each becomes a row.

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
                return _as_examples(reading.read_single(file), features)
            return _read_picture(file, features, invert=invert, split=split)
        except ImportError:
            raise
        except Exception as error:  # NumPy, zipfile and Pillow raise many types for damaged files
            raise ValueError(f"{path} cannot be read: {error}") from error


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


def _read_picture(
    file: IO[bytes], features: int, *, invert: bool | None, split: bool
) -> NDArray[Any]:
    require("pictures", "images", "PIL")
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415

    side = _side(features)
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
            deep = np.asarray(picture)
            bits = 4 if deep.max() < 4096 else 8  # many cameras have 12
            picture = Image.fromarray((deep >> bits).astype(np.uint8))
        if picture.has_transparency_data:
            picture = _on_paper(picture.convert("RGBA"), invert=invert)
        grey = np.asarray(picture.convert("L"))
    return normalise(grey, side, invert=invert, split=split).reshape(-1, features)


def _on_paper(picture: Any, *, invert: bool | None) -> Any:
    """Put ink on white if it is dark or `invert` says so, else on black."""
    from PIL import Image  # noqa: PLC0415  # an optional library

    if invert is None:
        grey, alpha = (np.asarray(picture.convert("LA"), int)[..., band] for band in (0, 1))
        invert = bool((grey * alpha).sum() < 127.5 * alpha.sum())
    return Image.alpha_composite(
        Image.new("RGBA", picture.size, "white" if invert else "black"), picture
    )


def as_text(x: NDArray[Any]) -> str:
    """Draw an example as lines of text, two characters for a pixel, for a dark terminal.

    Parameters
    ----------
    x : numpy.ndarray, shape (features,)
        A square picture. 8-bit pixels go from 0 (a space) to 255 (@), other numbers from the least
        to the largest.

    Returns
    -------
    str
        The lines.

    Examples
    --------
    >>> print(as_text(np.array([255, 0, 64, 142], np.uint8)))
    @@
    ::++
    """
    levels = np.rint(_as_grey(x) / 255 * (len(SHADES) - 1)).astype(int)
    return "\n".join("".join(2 * SHADES[level] for level in row).rstrip() for row in levels)


def write_png(path: str | os.PathLike[str], x: NDArray[Any]) -> None:
    """Write examples side by side as a PNG picture, light on dark.

    A picture of one example in 8-bit pixels is the example again for `read`.

    Parameters
    ----------
    path : path-like
        The file. An earlier one is replaced, whole or not at all.
    x : numpy.ndarray, shape (n, features)
        Square pictures in 8-bit pixels. Other numbers are drawn from the least to the largest.

    Raises
    ------
    ValueError
        The number of features is not a square.
    OSError
        The file cannot be written.
    ImportError
        Pillow is missing.
    """
    require("pictures", "images", "PIL")
    from PIL import Image  # noqa: PLC0415  # an optional library

    content = BytesIO()
    Image.fromarray(np.hstack([_as_grey(row) for row in x])).save(content, "PNG")
    write(Path(path), content.getvalue())


def _as_grey(x: NDArray[Any]) -> NDArray[np.uint8]:
    side = _side(x.size)
    if x.dtype != np.uint8:
        x = np.rint(np.interp(x.astype(float), [x.min(), x.max()], [0, 255])).astype(np.uint8)
    return x.reshape(side, side)


def _side(features: int) -> int:
    """Return the side of the square picture that an example is."""
    side = isqrt(features)
    if side * side != features:
        raise ValueError(f"a picture needs a square number of inputs, the network has {features}")
    return side
