"""Claims about pictures and arrays as input of a network: what is read, and what is refused."""

import io
import re
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from purenet.files import reading
from purenet.files.ink import normalise
from purenet.files.pictures import as_text, read, write_png

PIXELS = np.pad(np.random.default_rng(0).integers(0, 256, (4, 4), dtype=np.uint8), 1)
BINARY = np.where(PIXELS > 127, 255, 0).astype(np.uint8)


def grey() -> Image.Image:
    """Return the picture of PIXELS."""
    return Image.fromarray(PIXELS)


# Arrays.


@pytest.mark.parametrize(
    ("shape", "features", "expected"),
    [
        ((4, 4), 16, (1, 16)),
        ((16,), 16, (1, 16)),
        ((1, 16), 16, (1, 16)),
        ((5, 16), 16, (5, 16)),
        ((5, 4, 4), 16, (5, 16)),
        ((1, 1, 4, 4), 16, (1, 16)),
        ((3, 2), 2, (3, 2)),
        ((3,), 1, (3, 1)),
        ((), 1, (1, 1)),
    ],
)
@pytest.mark.parametrize("ending", ["npy", "NPZ"])
def test_each_example_of_an_array_becomes_a_row(
    tmp_path: Path, shape: tuple[int, ...], features: int, expected: tuple[int, int], ending: str
) -> None:
    """One example may have any shape; with several examples, the first axis counts them."""
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    path = tmp_path / f"array.{ending}"
    with path.open("wb") as file:
        (np.save if ending == "npy" else np.savez)(file, array)
    x = read(path, features)
    assert x.shape == expected
    assert x.dtype == np.int16
    assert np.array_equal(x.ravel(), array.ravel())


@pytest.mark.parametrize("dtype", ["u1", "i8", "f2", "f4", "f8", ">f4"])
def test_arrays_keep_their_numbers(tmp_path: Path, dtype: str) -> None:
    """Numbers of arrays are neither scaled nor converted nor inverted."""
    array = np.arange(32).reshape(2, 16).astype(dtype)
    np.save(tmp_path / "array.npy", array)
    x = read(tmp_path / "array.npy", 16, invert=True)
    assert x.dtype == array.dtype.newbyteorder("=")  # the byte order of this machine
    assert np.array_equal(x, array)


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((2, 17)), "float64 of shape (2, 17)"),
        (np.zeros(32), "float64 of shape (32,)"),
        (np.zeros((0, 16)), "float64 of shape (0, 16)"),
        (np.zeros((16, 0)), "float64 of shape (16, 0)"),
        (np.zeros(()), "float64 of shape ()"),
    ],
)
def test_arrays_that_do_not_fit_the_network_are_refused(
    tmp_path: Path, array: Any, got: str
) -> None:
    """The error has the dtype and shape that were found, and the number of inputs expected."""
    np.save(tmp_path / "array.npy", array)
    expected = "array.npy cannot be read: expected real numbers of shape (n, 16) with n >= 1, got "
    with pytest.raises(ValueError, match=f"{re.escape(expected)}.*{re.escape(got)}$"):
        read(tmp_path / "array.npy", 16)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(16, complex),
        np.zeros(16, bool),
        np.full(16, "a"),
        np.zeros(16, "M8[s]"),
        np.zeros(16, "i4,f4"),
        np.zeros(16, "V0"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_of_other_types_than_real_numbers_are_refused(tmp_path: Path, array: Any) -> None:
    """The error has the dtype and shape that were found."""
    np.save(tmp_path / "array.npy", array)
    message = f"expected an array of real numbers, got {array.dtype} of shape (16,)"
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path / "array.npy", 16)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_arrays_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    """One number that is not finite is enough to refuse an array."""
    array = np.zeros((2, 16))
    array[1, 3] = bad
    np.save(tmp_path / "array.npy", array)
    with pytest.raises(ValueError, match=r"array\.npy cannot be read: expected finite numbers"):
        read(tmp_path / "array.npy", 16)


def npy(array: Any, **options: Any) -> bytes:
    """Return an .npy file."""
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def header(text: str) -> bytes:
    """Return an .npy file with this text as its header and 32 bytes of data."""
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + bytes(32)


def npz(*members: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an .npz file with these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for i, member in enumerate(members):
            archive.writestr(f"arr_{i}.npy", member)
    return file.getvalue()


def resized(archive: bytes, size: int) -> bytes:
    """Return an .npz file of one member that claims another size."""
    central = archive.index(b"PK\1\2")
    return archive[: central + 24] + struct.pack("<I", size) + archive[central + 28 :]


GOOD = npy(np.zeros(16))
START = "{'descr': '|u1', 'fortran_order': False, 'shape': "


DAMAGED_ARRAYS = {
    "npy empty": ("a.npy", b"", ""),
    "npy of text": (
        "a.npy",
        b"some text",
        "expected an .npy file of version 1.0 or 2.0, got 73 6f",
    ),
    "npy without data": ("a.npy", GOOD[:20], ""),
    "npy one byte short": ("a.npy", GOOD[:-1], ""),
    "npy of objects": ("a.npy", npy(np.array([{}]), allow_pickle=True), "got object of shape"),
    "npy header open": ("a.npy", header(START + "(" * 50 + "\n"), ""),
    "npy of negative size": ("a.npy", header(START + "(-1, 16)}\n"), ""),
    "npy of impossible size": ("a.npy", header(START + f"({10**30}, 16)}}\n"), ""),
    "npy of hostile size": ("a.npy", header(START + f"({2**55}, 16)}}\n"), ""),
    "npy of version 3": ("a.npy", GOOD[:6] + b"\3" + GOOD[7:], "got 93 4e 55 4d 50 59 03 00"),
    "npy header beyond any": (
        "a.npy",
        GOOD[:6] + b"\2\0" + struct.pack("<I", 2**32 - 1) + bytes(99),
        "expected a header of at most 4096 bytes, got 4294967295",
    ),
    "npy one byte more": ("a.npy", GOOD + b"\0", "expected 128 bytes .* got 129"),
    "npz empty": ("a.npz", b"", "not a zip file"),
    "npz no zip": ("a.npz", GOOD, "not a zip file"),
    "npz of nothing": ("a.npz", npz(), "expected one array, got none"),
    "npz of two": ("a.npz", npz(GOOD, GOOD), "expected one array, got arr_0, arr_1"),
    "npz of text": ("a.npz", npz(b"some text"), "arr_0.npy: expected an .npy file of version"),
    "npz of one name twice": (
        "a.npz",
        npz(GOOD, GOOD).replace(b"rr_1", b"rr_0"),
        "it holds arr_0 twice",
    ),
    "npz by another method": ("a.npz", npz(GOOD, method=zipfile.ZIP_LZMA), "by method 14, not"),
    "npz of a bomb": (
        "a.npz",
        resized(npz(GOOD, method=zipfile.ZIP_DEFLATED), 2**32 - 2),
        f"unpacks to {2**32 - 2} bytes, more than 1000000: keep it uncompressed",
    ),
    "npz that claims more than it has": ("a.npz", resized(npz(GOOD), 300), ""),
    "npz one byte short": ("a.npz", npz(GOOD)[:-1], ""),
    "npz one bit wrong": ("a.npz", npz(GOOD).replace(bytes(128), bytes(127) + b"\1"), "CRC"),
}


@pytest.mark.parametrize(
    ("name", "content", "message"), DAMAGED_ARRAYS.values(), ids=DAMAGED_ARRAYS
)
def test_damaged_arrays_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
    message: str,
) -> None:
    """Every error of NumPy or zipfile becomes a ValueError with the path; nothing is unpickled."""
    monkeypatch.setattr(reading, "LIMIT", 10**6)
    path = tmp_path / name
    path.write_bytes(content)
    expected = re.escape(f"{path} cannot be read: ")
    with pytest.raises(ValueError, match=f"^{expected}(?=.).*{message}"):
        read(path, 16)


# Pictures.


@pytest.mark.parametrize(
    ("picture", "name", "expected"),
    [
        (grey(), "grey.png", PIXELS),
        (grey().convert("RGB"), "rgb.png", PIXELS),
        (grey().convert("RGBA"), "rgba.png", PIXELS),
        (grey().convert("LA"), "la.png", PIXELS),
        (grey().convert("P"), "palette.png", PIXELS),
        (Image.fromarray(BINARY).convert("1"), "binary.png", BINARY),
        (Image.fromarray(PIXELS.astype(np.uint16) * 257), "grey16.png", PIXELS),
        (Image.fromarray(PIXELS.astype(np.uint16) * 16), "grey12.png", PIXELS),
        (grey(), "a name without an ending", PIXELS),
    ],
)
def test_every_kind_of_png_gives_its_grey_values(
    tmp_path: Path, picture: Image.Image, name: str, expected: npt.NDArray[np.uint8]
) -> None:
    """A picture of the network's size gives its pixels unchanged, as one row of uint8."""
    picture.save(tmp_path / name, "PNG")
    x = read(tmp_path / name, 36)
    assert x.dtype == np.uint8
    assert np.array_equal(x, expected.reshape(1, 36))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_give_nearly_their_grey_values(tmp_path: Path, mode: str) -> None:
    """The best quality of JPEG changes a smooth picture by at most 4 levels."""
    slope = 16 - np.abs(np.arange(-15, 17))
    hill = np.clip(8 * np.minimum.outer(slope, slope), 0, 255).astype(np.uint8)
    Image.fromarray(hill).convert(mode).save(tmp_path / "hill.jpg", quality=100)
    x = read(tmp_path / "hill.jpg", 1024).astype(int)
    assert np.abs(x - hill.reshape(1, 1024)).max() <= 4


def test_grey_is_the_luma_of_bt_601(tmp_path: Path) -> None:
    """A colour becomes 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), rounded."""
    for colour, level in [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)]:
        picture = Image.new("RGB", (4, 4))
        picture.putpixel((2, 1), colour)
        picture.save(tmp_path / "colour.png")
        assert read(tmp_path / "colour.png", 16).ravel().tolist() == [0] * 6 + [level] + [0] * 9


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("mode", ["LA", "P", "RGBA"])
def test_transparent_pixels_are_paper(tmp_path: Path, ink: int, mode: str) -> None:
    """Dark and light ink on transparent pixels of any colour reads as ink on paper."""
    paper = Image.new("L", (40, 40), 255 - ink)
    paper.paste(ink, (10, 12, 14, 30))
    paper.save(tmp_path / "paper.png")
    clear = Image.new("LA", (40, 40), (128, 0))
    clear.paste((ink, 255), (10, 12, 14, 30))
    clear = clear.convert("RGBA").quantize() if mode == "P" else clear.convert(mode)
    clear.save(tmp_path / "clear.png")
    assert np.array_equal(read(tmp_path / "clear.png", 784), read(tmp_path / "paper.png", 784))


def test_what_is_said_of_the_ink_decides_between_white_and_black_paper(tmp_path: Path) -> None:
    """Grey ink of 200 on nothing stands out from white with `invert`, and from black without."""
    clear = Image.new("LA", (40, 40), (0, 0))
    clear.paste((200, 255), (10, 12, 14, 30))
    clear.save(tmp_path / "clear.png")
    light, dark = (read(tmp_path / "clear.png", 784, invert=invert) for invert in (False, True))
    assert np.array_equal(light, dark)


def test_a_character_in_a_picture_is_cut_out(tmp_path: Path) -> None:
    """What `normalise` makes of the grey values becomes rows, one for each character."""
    grey = np.full((50, 90), 220, np.uint8)
    grey[10:40, 20:28] = grey[15:40, 60:75] = 30
    Image.fromarray(grey).save(tmp_path / "two.png")
    Image.fromarray(grey[:, :50]).save(tmp_path / "one.png")
    one, two = read(tmp_path / "one.png", 784), read(tmp_path / "two.png", 784, split=True)
    assert np.array_equal(one, normalise(grey[:, :50]).reshape(1, 784))
    assert np.array_equal(two, normalise(grey, split=True).reshape(2, 784))
    with pytest.raises(
        ValueError, match=r"two\.png cannot be read: expected one character, found 2"
    ):
        read(tmp_path / "two.png", 784)


def test_a_photograph_is_rotated_as_its_exif_data_say(tmp_path: Path) -> None:
    """A picture with EXIF orientation 3 is rotated by 180 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 3
    grey().save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read(tmp_path / "turned.png", 36), PIXELS[::-1, ::-1].reshape(1, 36))


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """Return a PNG file whose header claims this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)


def saved(kind: str) -> bytes:
    """Return the picture of PIXELS as a file of this kind."""
    file = io.BytesIO()
    grey().save(file, kind)
    return file.getvalue()


DAMAGED_PICTURES = {
    "empty": (b"", "expected a PNG or JPEG picture"),
    "text": (b"some text", "expected a PNG or JPEG picture"),
    "GIF": (saved("GIF"), "expected a PNG or JPEG picture"),
    "PostScript, a program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", "PNG or JPEG"),
    "no pixels": (png(0, 0), ""),
    "no data": (png(4, 4), ""),
    "less data than pixels": (png(4, 4, bytes(7)), ""),
    "half a PNG": (saved("PNG")[:50], ""),
    "half a JPEG": (saved("JPEG")[:200], ""),
    "large": (png(10_000, 10_000), "expected at most 67108864 pixels, got 10000 × 10000"),
    "huge": (png(60_000, 60_000), "decompression bomb"),
    "largest": (png(2**31 - 1, 2**31 - 1), "decompression bomb"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED_PICTURES.values(), ids=DAMAGED_PICTURES)
def test_damaged_pictures_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """Every error or warning of Pillow becomes a ValueError with the path."""
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    expected = re.escape(f"{path} cannot be read: ")
    with pytest.raises(ValueError, match=f"^{expected}(?=.).*{message}"):
        read(path, 16)


def test_warnings_about_a_readable_picture_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning of Pillow about a picture that can be read is not shown."""
    grey().save(tmp_path / "grey.png")
    convert: Callable[..., Image.Image] = Image.Image.convert

    def warning(*args: Any) -> Image.Image:
        warnings.warn("Palette images with Transparency", UserWarning, stacklevel=1)
        return convert(*args)

    monkeypatch.setattr(Image.Image, "convert", warning)
    assert np.array_equal(read(tmp_path / "grey.png", 36), PIXELS.reshape(1, 36))


def test_a_picture_without_pillow_is_an_import_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install, and is no ValueError about a damaged file."""
    grey().save(tmp_path / "grey.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"^pictures need PIL: .*purenet\[images\]"):
        read(tmp_path / "grey.png", 16)


def test_a_network_without_a_square_input_takes_no_picture(tmp_path: Path) -> None:
    """The error names the number of inputs of the network."""
    grey().save(tmp_path / "grey.png")
    with pytest.raises(
        ValueError, match="a picture needs a square number of inputs, the network has 15"
    ):
        read(tmp_path / "grey.png", 15)


@pytest.mark.parametrize("name", ["missing.png", "missing.npy", "missing.npz"])
def test_a_missing_file_raises_the_error_of_the_system(tmp_path: Path, name: str) -> None:
    """A missing file raises FileNotFoundError, not a ValueError about a damaged file."""
    with pytest.raises(FileNotFoundError, match=name):
        read(tmp_path / name, 16)


# What the network sees.


def test_text_shows_light_pixels_as_dense_characters() -> None:
    """Each pixel is two of ten characters, from a space to @; other numbers fill that range."""
    levels = np.array([0, 28, 57, 85, 113, 142, 170, 198, 255], np.uint8)
    assert as_text(levels) == "  ..::\n--==++\n**##@@"
    assert as_text(levels / 255 * 2 - 7) == as_text(levels)
    assert as_text(np.full(4, 3.5)) in {"\n", "@@@@\n@@@@"}


def test_a_written_picture_is_the_example_again(tmp_path: Path) -> None:
    """A picture of 8-bit pixels is read with the same bits; several stand side by side."""
    write_png(tmp_path / "one.png", PIXELS.reshape(1, 36))
    assert np.array_equal(read(tmp_path / "one.png", 36), PIXELS.reshape(1, 36))
    write_png(tmp_path / "two.png", np.stack([PIXELS.ravel() / 255, 1 - PIXELS.ravel() / 255]))
    two = np.asarray(Image.open(tmp_path / "two.png")).astype(int)
    most = int(PIXELS.max())
    expected = np.rint(PIXELS / most * 255)
    assert np.abs(two - np.hstack([expected, 255 - expected])).max() <= 1


@pytest.mark.parametrize("draw", [as_text, lambda x: write_png("never.png", x[None])])
def test_only_squares_are_drawn(draw: Callable[[Any], object]) -> None:
    """The error names the number of features."""
    with pytest.raises(ValueError, match="a square number of inputs, the network has 15"):
        draw(np.zeros(15))


def test_a_picture_is_not_written_without_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install, and nothing is written."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"^pictures need PIL: .*purenet\[images\]"):
        write_png(tmp_path / "one.png", np.zeros((1, 16)))
    assert not list(tmp_path.iterdir())
