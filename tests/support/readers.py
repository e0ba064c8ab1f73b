"""The functions that read foreign files, each with small files that it reads."""

import gzip
import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from PIL import Image

from purenet import Config, State, init, init_velocity
from purenet.files import checkpoints, datasets, pictures, reading

__all__ = ["PARTS", "READERS", "Reader", "cheap_limits", "npz"]


class Reader(NamedTuple):
    """A function that reads a file, the ending that it expects, and files that it reads."""

    read: Callable[[Path], Any]
    ending: str
    files: list[bytes]

    def try_file(self, path: Path, content: bytes) -> bool:
        """Return True if the function reads this content, and False if it raises ValueError."""
        path.write_bytes(content)
        try:
            self.read(path)
        except ValueError as error:
            if str(path) not in str(error):
                raise AssertionError(f"no path in {error!r}") from error
            return False
        return True


def saved(write: Callable[[Any], Any]) -> bytes:
    """Return the bytes that a function writes to a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def models() -> list[bytes]:
    """Return checkpoints between epochs and inside one, and a network of float16 alone."""
    params = init([2, 3, 2])
    files = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        for steps in (0, 2):
            state = State(init_velocity(params), 1, steps, steps / 2)
            checkpoints.save(path, params, Config(), state=state, fingerprint="of x")
            files.append(Path(path).read_bytes())
        checkpoints.save(path, init([1, 2], dtype=np.float16), Config())
        files.append(Path(path).read_bytes())
    return files


def picture(kind: str, mode: str = "L", **options: Any) -> bytes:
    """Return a picture of 4 × 4 pixels as a file."""
    pixels = Image.fromarray(np.arange(0, 256, 16, dtype=np.uint8).reshape(4, 4))
    return saved(lambda file: pixels.convert(mode).save(file, kind, **options))


def npy(array: Any) -> bytes:
    """Return an .npy file."""
    return saved(lambda file: np.save(file, array))


def npz(**arrays: Any) -> bytes:
    """Return an .npz file."""
    return saved(lambda file: np.savez(file, **arrays))


def compressed(file: Any) -> None:
    """Write the .npz file of a small data set, compressed."""
    np.savez_compressed(file, allow_pickle=False, **PARTS)


X, Y = np.arange(12, dtype=np.uint8).reshape(2, 6), np.array([0, 1])
PARTS: dict[str, Any] = {"x_train": X, "y_train": Y, "x_test": X.astype("f4"), "y_test": Y}
IDX = [
    bytes.fromhex("00000803 00000001 00000002 00000003") + bytes(range(6)),
    bytes.fromhex("00000d01 00000002") + np.array([1.5, -2], ">f4").tobytes(),
]
READERS = {
    "model": Reader(checkpoints.load, "safetensors", models()),
    "idx": Reader(datasets.read_idx, "idx", [*IDX, *(gzip.compress(one, mtime=0) for one in IDX)]),
    "npz": Reader(
        datasets.load,
        "npz",
        [npz(**PARTS), saved(compressed)],
    ),
    "npy": Reader(
        lambda path: pictures.read(path, 6), "npy", [npy(X), npy(np.asfortranarray(X, ">f8"))]
    ),
    "picture": Reader(
        lambda path: pictures.read(path, 16),
        "png",
        [
            picture("PNG"),
            picture("PNG", "RGBA"),
            picture("PNG", "P", transparency=3),
            picture("JPEG"),
            picture("JPEG", "CMYK", exif=Image.Exif().tobytes()),
        ],
    ),
}


def skip_checksum(chunk: Any, *_: object) -> None:
    """Read the checksum of a chunk of a PNG file without comparing it."""
    chunk.fp.read(4)


@contextmanager
def cheap_limits() -> Iterator[None]:
    """Lower the limits to 16 MiB and 1 megapixel, and accept any checksum.

    Damaged files would rarely have a right checksum, and all other code would not be reached.
    """
    of_chunk = "PIL.PngImagePlugin.ChunkStream.crc"
    with (
        mock.patch.object(reading, "LIMIT", 1 << 24),
        mock.patch.object(pictures, "PIXELS", 1 << 20),
        mock.patch.object(checkpoints, "_checksum", lambda *_: mock.ANY),  # noqa: PT008
        mock.patch.object(zipfile.ZipExtFile, "_update_crc", lambda *_: None),  # noqa: PT008
        mock.patch(of_chunk, skip_checksum),
    ):
        yield
