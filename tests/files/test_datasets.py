"""Claims about data sets: the packaged digits are the official ones; bad files are refused."""

import gzip
import hashlib
import io
import math
import os
import re
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from sklearn.datasets import load_digits

from purenet.files import reading
from purenet.files.datasets import Dataset, class_names, load, mnist, read_idx
from tests.support.systems import POSIX

DATA = resources.files("purenet") / "data"
CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}
OFFICIAL = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
SMALL = {
    "x_train": np.arange(18, dtype=np.uint8).reshape(3, 2, 3),
    "y_train": np.array([2, 0, 1], np.uint8),
    "x_test": np.arange(100, 112, dtype=np.uint8).reshape(2, 2, 3),
    "y_test": np.array([1, 1], np.uint8),
}
Packer: TypeAlias = Callable[[bytes], bytes]
PACK: list[Packer] = [bytes, gzip.compress]
# The memory that reading may take beyond the data: one chunk in the reader, its copy in the growing
# result, which at most doubles, and half a chunk for the buffers of file and zlib.
MEMORY = 3.5 * reading.BLOCK


def header(code: int, *shape: int) -> bytes:
    """Return the header of an IDX file: two zeros, the type, the rank and the sizes."""
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


def idx(array: np.ndarray[Any, Any]) -> bytes:
    """Return an array as an IDX file."""
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    return header(CODES[array.dtype.name], *array.shape) + big_endian.tobytes()


def write_folder(folder: Path, names: list[str], **changed: np.ndarray[Any, Any]) -> Path:
    """Write the small data set as IDX files with four names, gzipped if the name ends in .gz."""
    for name, array in zip(names, (SMALL | changed).values(), strict=True):
        content = idx(array)
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def write_npz(path: Path, **changed: np.ndarray[Any, Any]) -> Path:
    """Write the small data set as an .npz archive."""
    np.savez_compressed(path, **(SMALL | changed))
    return path


def assert_small(data: Dataset) -> None:
    """Check that a data set is the small one with flattened images."""
    (x_train, y_train), (x_test, y_test) = data
    for got, key in ((x_train, "x_train"), (x_test, "x_test")):
        np.testing.assert_array_equal(got, SMALL[key].reshape(-1, 6), strict=True)
    for got, key in ((y_train, "y_train"), (y_test, "y_test")):
        np.testing.assert_array_equal(got, SMALL[key], strict=True)


def peak_of_refusal(path: Path) -> int:
    """Return the peak of memory, in bytes, while read_idx refuses a file."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=re.escape(path.name)):
            read_idx(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """Return the packaged MNIST, read once."""
    return mnist()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a file that a test may write many times."""
    return tmp_path_factory.mktemp("idx") / "scratch"


# The packaged digits.


def test_packaged_mnist_has_the_bytes_of_the_official_files(digits: Dataset) -> None:
    """The four IDX files, rebuilt from the arrays, have the official SHA-256 hashes."""
    (x_train, y_train), (x_test, y_test) = digits
    rebuilt = (x_train.reshape(-1, 28, 28), y_train, x_test.reshape(-1, 28, 28), y_test)
    for array, (name, digest) in zip(rebuilt, OFFICIAL.items(), strict=True):
        assert hashlib.sha256(idx(array)).hexdigest() == digest, name


def test_mnist_has_rows_of_784_bytes_and_labels(digits: Dataset) -> None:
    """Images have shape (n, 784) and labels (n,), in contiguous and writable uint8 arrays."""
    arrays = [array for part in digits for array in part]
    assert [a.shape for a in arrays] == [(60000, 784), (60000,), (10000, 784), (10000,)]
    assert all(a.dtype == np.uint8 and a.flags.c_contiguous and a.flags.writeable for a in arrays)


def test_load_of_the_word_mnist_gives_new_arrays(digits: Dataset) -> None:
    """`load("mnist")` gives the arrays of `mnist()`, which share no memory with other calls."""
    for again, once in zip(load("mnist"), digits, strict=True):
        for a, b in zip(again, once, strict=True):
            assert np.array_equal(a, b)
            assert not np.shares_memory(a, b)


def test_mnist_archive_can_replace_that_of_keras_and_is_small() -> None:
    """mnist.npz has the keys and shapes of Keras' mnist.npz, and takes at most 12 MB."""
    content = (DATA / "mnist.npz").read_bytes()
    assert len(content) <= 12_000_000
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        assert sorted(archive.files) == ["x_test", "x_train", "y_test", "y_train"]
        assert archive["x_test"].shape == (10000, 28, 28)


def test_data_readme_gives_the_hashes_licence_and_authors() -> None:
    """The README of the data names the hash of every file, the licence and the authors."""
    readme = (DATA / "README.md").read_text("utf-8")
    for name, digest in OFFICIAL.items():
        assert f"{digest}  {name}\n" in readme
    for text in (readme, (DATA / "LICENSE-MNIST.md").read_text("utf-8")):
        for words in ("Creative Commons Attribution-Share Alike 3.0", "LeCun", "Cortes", "Burges"):
            assert words in " ".join(text.split())


def test_data_readme_recipe_makes_the_archive_from_four_idx_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python of that README turns four IDX files into an archive that `load` reads."""
    monkeypatch.chdir(write_folder(tmp_path, list(OFFICIAL)))
    recipe = re.search(r"```python\n(.*?)```", (DATA / "README.md").read_text("utf-8"), re.DOTALL)
    assert recipe
    exec(recipe[1], {})
    assert_small(load(tmp_path / "mnist.npz"))


# IDX files.


@given(data=st.data(), name=st.sampled_from(sorted(CODES)), pack=st.sampled_from(PACK))
def test_read_idx_inverts_writing_for_every_type_and_rank(
    scratch: Path, data: st.DataObject, name: str, pack: Packer
) -> None:
    """Shape, dtype and every bit survive, also those of NaN, with and without gzip."""
    shapes = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
    array = data.draw(hnp.arrays(name, shapes, fill=st.nothing()))
    scratch.write_bytes(pack(idx(array)))
    got = read_idx(scratch)
    assert (got.shape, got.dtype) == (array.shape, np.dtype(name))
    assert got.dtype.isnative
    assert got.tobytes() == array.tobytes()
    assert got.flags.writeable


@given(
    code=st.sampled_from([*CODES.values(), 0, 10]),
    shape=st.lists(st.integers(0, 3), max_size=3),
    tail=st.binary(max_size=64),
)
def test_read_idx_reads_all_bytes_or_refuses_the_file(
    scratch: Path, code: int, shape: list[int], tail: bytes
) -> None:
    """Any bytes give either an array that is written as these bytes, or ValueError."""
    content = header(code, *shape) + tail
    scratch.write_bytes(content)
    try:
        got = read_idx(scratch)
    except ValueError:
        itemsize = {8: 1, 9: 1, 11: 2, 12: 4, 13: 4, 14: 8}.get(code)
        assert itemsize is None or len(tail) != itemsize * math.prod(shape)
    else:
        assert idx(got) == content


def test_read_idx_reads_each_type_code_as_big_endian(tmp_path: Path) -> None:
    """The big-endian bytes of the number 1 are read as 1 in every type."""
    ones = {8: "01", 9: "01", 11: "0001", 12: "00000001", 13: "3f800000", 14: "3ff0000000000000"}
    for name, code in CODES.items():
        path = tmp_path / name
        path.write_bytes(bytes([0, 0, code, 1, 0, 0, 0, 1]) + bytes.fromhex(ones[code]))
        np.testing.assert_array_equal(read_idx(path), np.ones(1, name), strict=True)


def test_read_idx_recognises_gzip_by_content_not_by_name(tmp_path: Path) -> None:
    """A gzipped file without the ending .gz is read, and so is a plain file with it."""
    for path, content in (
        (tmp_path / "labels-idx1-ubyte", gzip.compress(idx(SMALL["y_train"]))),
        (tmp_path / "labels-idx1-ubyte.gz", idx(SMALL["y_train"])),
    ):
        path.write_bytes(content)
        for spelled in (path, str(path)):
            np.testing.assert_array_equal(read_idx(spelled), SMALL["y_train"], strict=True)


@pytest.mark.parametrize("pack", PACK, ids=["plain", "gzip"])
def test_read_idx_reads_more_than_one_chunk(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, pack: Packer
) -> None:
    """Files of one chunk, of two, and of one byte more or less are read exactly."""
    monkeypatch.setattr(reading, "BLOCK", 8)
    for n in (7, 8, 9, 15, 16, 17):
        array = np.arange(n, dtype=np.uint8)
        scratch.write_bytes(pack(idx(array)))
        np.testing.assert_array_equal(read_idx(scratch), array, strict=True)


def test_read_idx_refuses_a_gzip_stream_beyond_the_limit(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gzip stream whose header claims more than 4 GiB is refused; plain files have no limit."""
    scratch.write_bytes(gzip.compress(header(8, 2**16, 2**16, 2)))
    message = "it unpacks to 8589934592 bytes, more than 4294967296: keep it uncompressed"
    with pytest.raises(ValueError, match=f"scratch: {message}"):
        read_idx(scratch)
    monkeypatch.setattr(reading, "LIMIT", 16)
    for n, packed in ((16, gzip.compress), (17, bytes)):
        array = np.arange(n, dtype=np.uint8)
        scratch.write_bytes(packed(idx(array)))
        np.testing.assert_array_equal(read_idx(scratch), array, strict=True)


@POSIX
def test_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    """A pipe that nobody writes to and a device that never ends are refused at once."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for read in (read_idx, load):
            with pytest.raises(ValueError, match=f"^{path} is not a regular file$"):
                read(path)


@pytest.mark.parametrize("pack", PACK, ids=["plain", "gzip"])
def test_read_idx_refuses_a_file_cut_at_any_byte(scratch: Path, pack: Packer) -> None:
    """Every proper prefix of a file raises ValueError, which names the file."""
    content = pack(idx(np.arange(6, dtype=np.int16).reshape(2, 3)))
    for length in range(len(content)):
        scratch.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"scratch: expected"):
            read_idx(scratch)


@pytest.mark.parametrize("excess", [1, 5, 100_000])
@pytest.mark.parametrize("array", [np.zeros((2, 3), np.float32), np.zeros((0, 3), np.float32)])
def test_read_idx_refuses_trailing_bytes(
    scratch: Path, array: np.ndarray[Any, Any], excess: int
) -> None:
    """Bytes after the last element are refused: plain, in the gzip stream, or behind it."""
    content, more = idx(array), b"\1" * excess
    for file in (content + more, gzip.compress(content + more), gzip.compress(content) + more):
        scratch.write_bytes(file)
        with pytest.raises(ValueError, match=r"scratch: expected (\d+ bytes .* got more|a whole)"):
            read_idx(scratch)


def test_read_idx_never_returns_wrong_numbers_from_a_damaged_gzip_file(scratch: Path) -> None:
    """A file with one byte changed is refused, or gives the same array."""
    array = np.arange(40, dtype=np.uint8)
    content = gzip.compress(idx(array))
    refused = 0
    for i in range(len(content)):
        scratch.write_bytes(content[:i] + bytes([content[i] ^ 0x20]) + content[i + 1 :])
        try:
            np.testing.assert_array_equal(read_idx(scratch), array, strict=True)
        except ValueError:
            refused += 1
    # Seven of the first ten bytes are flags, a time, a level and a system, which change nothing.
    assert refused >= len(content) - 8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "which starts with 00 00, .* got nothing"),
        (b"\0\0\x08", "which starts with 00 00, .* got 00 00 08$"),
        (b"\x01\0\x08\x01\0\0\0\x01\x07", "which starts with 00 00, .* got 01 00 08 01"),
        (b"\0\x01\x08\x01\0\0\0\x01\x07", "which starts with 00 00, .* got 00 01 08 01"),
        (b"\0\0\x0a\x01\0\0\0\x01\x07", r"a type \(08 09 0b 0c 0d 0e\) .* got 00 00 0a 01"),
        (b"\0\0\x08\x02\0\0\0\x01\x07", "sizes of 2 axes in 8 bytes, got 5"),
        (header(8), r"1 bytes for uint8 of shape \(\), got only 0"),
        (header(12, 2) + bytes(7), r"8 bytes for int32 of shape \(2,\), got only 7"),
        (header(9, 2) + bytes(3), r"2 bytes for int8 of shape \(2,\), got more"),
    ],
)
@pytest.mark.parametrize("pack", PACK, ids=["plain", "gzip"])
def test_read_idx_says_what_it_expected_and_found(
    scratch: Path, content: bytes, message: str, pack: Packer
) -> None:
    """The error names the file, what was expected and what was found."""
    scratch.write_bytes(pack(content))
    with pytest.raises(ValueError, match=f"{re.escape(str(scratch))}: expected .*{message}"):
        read_idx(scratch)


def test_read_idx_accepts_rank_zero_and_axes_of_size_zero(scratch: Path) -> None:
    """An array of rank 0 has one element; an array with a size of 0 has none."""
    for array in (np.array(7, np.uint8), np.empty((3, 0, 2), np.int32), np.empty(0, np.float64)):
        scratch.write_bytes(idx(array))
        np.testing.assert_array_equal(read_idx(scratch), array, strict=True)


@pytest.mark.parametrize("shape", [(1,) * 65, (1,) * 255, (2**32 - 1,) * 4 + (0,)])
def test_read_idx_refuses_shapes_that_numpy_cannot_hold(
    scratch: Path, shape: tuple[int, ...]
) -> None:
    """A file whose rank or size is beyond the limits of NumPy raises ValueError, which names it."""
    scratch.write_bytes(header(8, *shape) + bytes(0 in shape or 1))
    with pytest.raises(ValueError, match=r"scratch: "):
        read_idx(scratch)


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2**32 - 1,) * 255], ids=["1 TB", "rank 255"])
@pytest.mark.parametrize("pack", PACK, ids=["plain", "gzip"])
def test_read_idx_allocates_no_memory_for_a_claim_of_the_header(
    scratch: Path, shape: tuple[int, ...], pack: Packer
) -> None:
    """A file of 100 bytes that claims a terabyte is refused within a few buffers of memory."""
    content = header(8, *shape) + bytes(100)
    scratch.write_bytes(pack(content))
    assert peak_of_refusal(scratch) < MEMORY


def test_read_idx_compares_header_and_size_of_a_plain_file_first(scratch: Path) -> None:
    """A sparse file of 2 GB that does not fit its header is refused before its body is read."""
    for claimed in (10, 2**32 - 1):
        scratch.write_bytes(header(8, claimed))
        os.truncate(scratch, 2**31)
        assert peak_of_refusal(scratch) < reading.BLOCK  # less than one chunk of the body
    scratch.unlink()


def test_read_idx_unpacks_no_more_of_a_gzip_bomb_than_its_header_claims(scratch: Path) -> None:
    """64 MiB of zeros behind a header for 1,000 bytes are refused within 1 MiB of memory."""
    scratch.write_bytes(gzip.compress(header(8, 1000) + bytes(2**26), 1))
    assert peak_of_refusal(scratch) < reading.BLOCK


def test_a_missing_source_raises_file_not_found(tmp_path: Path) -> None:
    """A path that does not exist raises the error of the system, which names it."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere")


# Folders of IDX files.

MNIST_NAMES = list(OFFICIAL)
EMNIST_NAMES = [
    f"emnist-letters-{part}-{content}"
    for part in ("train", "test")
    for content in ("images-idx3-ubyte", "labels-idx1-ubyte")
]


@pytest.mark.parametrize("suffix", ["", ".gz"], ids=["plain", "gzip"])
@pytest.mark.parametrize("names", [MNIST_NAMES, EMNIST_NAMES], ids=["mnist", "emnist"])
def test_load_reads_folders_with_the_names_of_mnist_and_emnist(
    tmp_path: Path, names: list[str], suffix: str
) -> None:
    """The four files are found among others, with and without .gz; EMNIST's images are turned."""
    for bystander in ("README", "emnist-letters.txt", f"{names[0]}.part", f"._{names[0]}"):
        (tmp_path / bystander).touch()
    turn = names == EMNIST_NAMES
    images = {k: SMALL[k].swapaxes(1, 2) if turn else SMALL[k] for k in ("x_train", "x_test")}
    write_folder(tmp_path, [name + suffix for name in names], **images)
    assert_small(load(tmp_path))
    assert_small(load(str(tmp_path)))


def test_a_folder_named_mnist_can_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Path("mnist") and "./mnist" mean the folder; the word "mnist" means the packaged digits."""
    monkeypatch.chdir(tmp_path)
    Path("mnist").mkdir()
    write_folder(Path("mnist"), MNIST_NAMES)
    assert_small(load(Path("mnist")))
    assert_small(load("./mnist"))


def test_load_prefers_the_plain_file_to_the_gzipped_one(tmp_path: Path) -> None:
    """A gzipped file is not opened beside the plain one; a folder of that name does not count."""
    for name in MNIST_NAMES[:3]:
        (tmp_path / f"{name}.gz").write_bytes(b"never opened")
    (tmp_path / MNIST_NAMES[3]).mkdir()
    write_folder(tmp_path, [*MNIST_NAMES[:3], f"{MNIST_NAMES[3]}.gz"])
    assert_small(load(tmp_path))


@pytest.mark.parametrize("missing", range(4))
def test_load_names_the_file_that_a_folder_lacks(tmp_path: Path, missing: int) -> None:
    """The error has the folder and the missing name; a file that ends in .part does not count."""
    write_folder(tmp_path, MNIST_NAMES)
    (tmp_path / MNIST_NAMES[missing]).rename(tmp_path / f"{MNIST_NAMES[missing]}.part")
    expected = rf"{re.escape(str(tmp_path))}: expected .*{MNIST_NAMES[missing]}\[\.gz\].* got none"
    with pytest.raises(ValueError, match=expected):
        load(tmp_path)


def test_load_names_the_candidates_it_cannot_choose_between(tmp_path: Path) -> None:
    """If a folder holds two data sets, the error has the names of both."""
    write_folder(tmp_path, MNIST_NAMES)
    write_folder(tmp_path, EMNIST_NAMES)
    with pytest.raises(ValueError, match=rf"got {EMNIST_NAMES[0]}, {MNIST_NAMES[0]}; "):
        load(tmp_path)


def test_a_data_set_in_a_folder_of_several_is_named_by_its_prefix(tmp_path: Path) -> None:
    """The error about several data sets names one, and that name loads it alone."""
    write_folder(tmp_path, EMNIST_NAMES)
    write_folder(tmp_path, [name.replace("letters", "digits") for name in EMNIST_NAMES])
    with pytest.raises(ValueError, match=f"; {tmp_path}/emnist-digits names one data set$"):
        load(tmp_path)
    assert load(f"{tmp_path}/emnist-digits")[0][0].shape == (3, 6)
    (tmp_path / EMNIST_NAMES[1]).unlink()
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte\[\.gz\], got none$"):
        load(tmp_path / "emnist-letters")
    with pytest.raises(FileNotFoundError, match="emnist-let"):
        load(tmp_path / "emnist-let")


@pytest.mark.parametrize("prefix", ["kmnist", "k49"])
def test_the_npz_files_of_kmnist_are_read(tmp_path: Path, prefix: str) -> None:
    """Each of the four files has one array. A damaged one is named."""
    for name, array in zip(
        ("train-imgs", "train-labels", "test-imgs", "test-labels"), SMALL.values(), strict=True
    ):
        np.savez_compressed(tmp_path / f"{prefix}-{name}.npz", array)
    assert_small(load(tmp_path))
    (tmp_path / f"{prefix}-test-imgs.npz").write_bytes(b"")
    with pytest.raises(
        ValueError, match=rf"{prefix}-test-imgs\.npz: expected an \.npz file of one"
    ):
        load(tmp_path)


# Names of classes.


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"0 65\n1 66 98\n2 99", ["A", "B", "c"]),
        (b"1 65 97\r\n2 66 98\r\n", ["?", "A", "B"]),
        (b"0 48\n1 49\n2 50\n", None),
        (b"\xef\xbb\xbf0 65", ["A"]),
        (b"", None),
    ],
)
def test_the_mapping_of_emnist_names_the_classes(
    tmp_path: Path, lines: bytes, expected: list[str] | None
) -> None:
    """The first character of a label is its name, unless all are the labels themselves."""
    write_folder(tmp_path, EMNIST_NAMES)
    assert class_names(tmp_path) is None
    (tmp_path / "emnist-letters-mapping.txt").write_bytes(lines)
    assert class_names(tmp_path) == expected
    assert class_names(tmp_path / "emnist-letters") == expected


@pytest.mark.parametrize("line", [b"1", b"1 a", b"-1 65", b"\xff 65", b"1 6555"])
def test_a_damaged_mapping_is_refused(tmp_path: Path, line: bytes) -> None:
    """The error names the file and the line."""
    write_folder(tmp_path, EMNIST_NAMES)
    (tmp_path / "emnist-letters-mapping.txt").write_bytes(b"0 65\n" + line)
    with pytest.raises(ValueError, match=r"mapping\.txt: expected a label and .* in line 2, got "):
        class_names(tmp_path)


def test_other_data_sets_have_no_names(tmp_path: Path) -> None:
    """MNIST, the digits of scikit-learn and .npz files have labels alone."""
    names = [class_names(source) for source in ("mnist", "digits", write_npz(tmp_path / "a.npz"))]
    assert names == [None, None, None]


# The digits of scikit-learn.


def test_the_digits_of_scikit_learn_are_scaled_to_1() -> None:
    """All 1,797 examples come in their order, divided by 16 without rounding."""
    (x, y), (x_test, y_test) = load("digits")
    expected = load_digits()
    assert np.array_equal(np.concatenate([x, x_test]) * 16, expected.data)
    assert np.array_equal(np.concatenate([y, y_test]), expected.target)
    assert x.dtype == np.float32
    assert len(x) == 1500


def test_without_scikit_learn_its_digits_are_an_import_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"^the digits of .* need sklearn: .*purenet\[sklearn\]"):
        load("digits")


def test_load_refuses_files_of_different_data_sets(tmp_path: Path) -> None:
    """Three files of one data set and one of another are refused with their names."""
    names = [*EMNIST_NAMES[:3], "emnist-digits-test-labels-idx1-ubyte"]
    with pytest.raises(ValueError, match=f"files of one data set, got {', '.join(names)}"):
        load(write_folder(tmp_path, names))


def test_load_names_the_damaged_file_of_a_folder(tmp_path: Path) -> None:
    """The error has the path of the IDX file that read_idx refuses."""
    write_folder(tmp_path, MNIST_NAMES)
    (tmp_path / MNIST_NAMES[2]).write_bytes(b"")
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / MNIST_NAMES[2]))):
        load(tmp_path)


# .npz archives.


def test_load_reads_npz_archives_of_any_layout(tmp_path: Path) -> None:
    """Archives may be compressed, hold more arrays, and be big-endian or in column order."""
    assert_small(load(write_npz(tmp_path / "compressed.npz")))
    np.savez(tmp_path / "stored", extra=np.ones(3), **SMALL)  # type: ignore[arg-type]
    assert_small(load(str(tmp_path / "stored.npz")))
    x = np.asfortranarray(SMALL["x_train"].reshape(3, 6).astype(">f4"))
    (got, _), _ = load(write_npz(tmp_path / "foreign.npz", x_train=x))
    np.testing.assert_array_equal(got, SMALL["x_train"].reshape(3, 6).astype("f4"), strict=True)
    assert got.dtype.isnative
    assert got.flags.c_contiguous


def test_load_names_the_keys_of_an_archive_that_lacks_one(tmp_path: Path) -> None:
    """The error has the keys that were expected and those that were found."""
    np.savez(tmp_path / "a.npz", images=SMALL["x_train"], x_test=SMALL["x_test"])
    expected = r"a\.npz: expected .* x_train, y_train, x_test, y_test: it holds images, x_test$"
    with pytest.raises(ValueError, match=expected):
        load(tmp_path / "a.npz")


def test_load_refuses_object_arrays(tmp_path: Path) -> None:
    """An array of objects, which only pickle could read, is refused."""
    with pytest.raises(ValueError, match=r"a\.npz: .*y_test\.npy: .* real numbers, got object"):
        load(write_npz(tmp_path / "a.npz", y_test=np.array([1, None], object)))


def test_load_refuses_an_array_member_with_trailing_bytes(tmp_path: Path) -> None:
    """Bytes behind the last number of a member are an error."""
    path = write_npz(tmp_path / "a.npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content + b"\1" * (name == "y_test.npy"))
    with pytest.raises(ValueError, match=r"a\.npz: .*y_test\.npy: expected 2 bytes .* got 3"):
        load(path)


def test_load_refuses_a_file_that_is_no_zip_archive(tmp_path: Path) -> None:
    """An IDX file, an .npy file and an empty file are refused with their names."""
    np.save(tmp_path / "alone.npy", SMALL["x_train"])
    for content in (idx(SMALL["x_train"]), (tmp_path / "alone.npy").read_bytes(), b""):
        path = tmp_path / "a.npz"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.npz: expected an \.npz file"):
            load(path)


def test_load_refuses_an_npz_archive_cut_at_any_byte(scratch: Path) -> None:
    """Every proper prefix of an archive raises ValueError, which names the file."""
    buffer = io.BytesIO()
    np.savez(buffer, **SMALL)  # type: ignore[arg-type]
    content = buffer.getvalue()
    for length in range(len(content)):
        scratch.write_bytes(content[:length])
        with pytest.raises(ValueError, match="scratch: expected"):
            load(scratch)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_load_never_returns_wrong_numbers_from_a_damaged_archive(scratch: Path, save: Any) -> None:
    """An archive with one bit changed is refused, or gives the same data."""
    buffer = io.BytesIO()
    save(buffer, **SMALL)
    content = buffer.getvalue()
    refused = 0
    for i in range(len(content)):
        scratch.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        try:
            assert_small(load(scratch))
        except ValueError:
            refused += 1
    assert refused > len(content) / 2  # the others hold dates, versions and attributes


# The arrays, from any kind of file.


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float16", "float32", "float64"])
def test_load_keeps_every_real_dtype(tmp_path: Path, dtype: str) -> None:
    """Images of any real type are returned in that type."""
    x = SMALL["x_train"].astype(dtype)
    (got, _), _ = load(write_npz(tmp_path / "a.npz", x_train=x))
    np.testing.assert_array_equal(got, x.reshape(3, 6), strict=True)


BAD = {
    "too few labels": ({"y_train": [2, 0]}, r"y_train: .* shape \(3,\).* of shape \(2,\)"),
    "too many labels": ({"y_test": [2, 0, 1]}, r"y_test: .* shape \(2,\).* of shape \(3,\)"),
    "a column of labels": ({"y_train": [[2], [0], [1]]}, r"y_train: .* of shape \(3, 1\)"),
    "one label for all": ({"y_test": 1}, r"y_test: .* of shape \(\)"),
    "float labels": ({"y_train": [2.0, 0.0, 1.0]}, "y_train: expected integers .* float64"),
    "boolean labels": ({"y_test": [True, False]}, ".*y_test.npy: .* real numbers, got bool"),
    "a negative label": ({"y_test": [0, -1]}, "y_test: expected labels >= 0, got -1"),
    "no images": ({"x_test": np.empty((0, 6)), "y_test": np.empty(0, int)}, "x_test: .* n >= 1"),
    "no pixels": ({"x_train": np.empty((3, 0))}, r"x_train: .* of shape \(3, 0\)"),
    "images of rank 1": ({"x_train": [1, 2, 3]}, r"x_train: .* of shape \(3,\)"),
    "boolean images": (
        {"x_train": np.ones((3, 6), bool)},
        ".*x_train.npy: .* real numbers, got bool",
    ),
    "complex images": ({"x_train": np.ones((3, 6), complex)}, ".*x_train.npy: .* got complex128"),
    "text": ({"x_train": np.full((3, 6), "a")}, ".*x_train.npy: .* real numbers, got <U1"),
    "other features": ({"x_test": np.ones((2, 5))}, "x_test: expected 6 features .*x_train, got 5"),
}


@pytest.mark.parametrize(("changed", "message"), BAD.values(), ids=BAD.keys())
def test_load_refuses_arrays_that_are_not_images_and_labels(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    """The error names the file, the array, what was expected and what was found."""
    path = write_npz(tmp_path / "a.npz", **{key: np.asarray(a) for key, a in changed.items()})
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: {message}"):
        load(path)


def test_load_names_the_idx_files_whose_arrays_do_not_match(tmp_path: Path) -> None:
    """For a folder, the error has the paths of the labels and of their images."""
    write_folder(tmp_path, MNIST_NAMES, y_test=np.array([1, 1, 1], np.uint8))
    with pytest.raises(ValueError, match=f"{MNIST_NAMES[3]}: .* image of .*{MNIST_NAMES[2]}"):
        load(tmp_path)
