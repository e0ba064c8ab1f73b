"""Pictures and arrays as input of a network."""

import os
import warnings
import zipfile
from math import isqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["read"]


def read(
    path: str | os.PathLike[str], features: int, *, invert: bool = False
) -> npt.NDArray[np.generic]:
    """Read a picture, or an array of examples, as the input of a network.

    A picture becomes one row of 8-bit grey values, light ink on dark ground as in MNIST, resized to
    the square that the network takes.

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
    if path.suffix in (".npy", ".npz"):
        return _read_array(path, features)
    return _read_picture(path, features, invert=invert)


def _read_array(path: Path, features: int) -> npt.NDArray[np.generic]:
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.lib.npyio.NpzFile):
            with content:
                if len(content.files) != 1:
                    raise ValueError(f"expected one array, found {content.files}")
                array = content[content.files[0]]
        else:
            array = content
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a readable array: {error}") from None
    single = array.size == features
    if not single and (array.ndim < 2 or array[:1].size != features):
        raise ValueError(f"{path} has shape {array.shape}, the network takes {features} inputs")
    return np.asarray(array).reshape(-1, features)


def _read_picture(path: Path, features: int, *, invert: bool) -> npt.NDArray[np.generic]:
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415
    except ImportError:
        raise ImportError("pictures need Pillow: pip install 'purenet[images]'") from None
    side = isqrt(features)
    if side * side != features:
        raise ValueError(f"{path}: a network of {features} inputs takes no square picture")
    try:
        with warnings.catch_warnings(), Image.open(path) as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I"):  # 16 bits, which convert("L") would cut off at 255
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            # What is transparent shows the ground, light or dark.
            ground = Image.new("RGBA", picture.size, "white" if invert else "black")
            grey = Image.alpha_composite(ground, picture.convert("RGBA")).convert("L")
            pixels = np.asarray(grey.resize((side, side), Image.Resampling.LANCZOS))
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        UnidentifiedImageError,
        SyntaxError,
        ValueError,
    ) as error:
        raise ValueError(f"{path} is not a readable picture: {error}") from None
    return (255 - pixels if invert else pixels).reshape(1, features)
