"""Claims about damaged and hostile files: they are read, or refused with a ValueError."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet.files import checkpoints
from tests.support.readers import READERS, cheap_limits

# Pillow may read a picture that lacks its last bytes.
WHOLE = ["model", "idx", "npz", "npy"]


@pytest.mark.parametrize("name", READERS)
def test_a_file_cut_at_any_byte_is_refused(tmp_path: Path, name: str) -> None:
    """Every proper prefix of a file is refused; that of a picture may be read."""
    reader = READERS[name]
    path = tmp_path / f"file.{reader.ending}"
    count = 0
    for content in reader.files:
        assert reader.try_file(path, content)
        for length in range(len(content)):
            read = reader.try_file(path, content[:length])
            assert not (read and name in WHOLE), f"{length} of {len(content)} bytes are enough"
            count += 1
    print(f"{name}: {count} cuts")


@pytest.mark.parametrize("name", READERS)
def test_a_file_with_one_bit_flipped_is_read_or_refused(
    tmp_path: Path,
    name: str,
    long: bool,  # noqa: FBT001
) -> None:
    """A flipped bit leads to no other error than ValueError; the short form flips each 11th bit."""
    reader = READERS[name]
    path = tmp_path / f"file.{reader.ending}"
    flips = refused = 0
    for content in reader.files:
        for bit in range(0, len(content) * 8, 1 if long else 11):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            refused += not reader.try_file(path, bytes(flipped))
            flips += 1
    print(f"{name}: {flips} flips, {refused} refused")


def test_a_checkpoint_with_one_bit_flipped_is_refused_or_unchanged(
    tmp_path: Path,
    long: bool,  # noqa: FBT001
) -> None:
    """No flip of a bit gives another network or another state: the checksum covers both."""
    path = tmp_path / "model.safetensors"
    same = 0
    for content in READERS["model"].files:
        path.write_bytes(content)
        expected = checkpoints.load(path)
        for bit in range(0, len(content) * 8, 1 if long else 11):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            if READERS["model"].try_file(path, bytes(flipped)):
                loaded = checkpoints.load(path)
                np.testing.assert_equal(loaded, expected)
                same += 1
    print(f"{same} flips change nothing")


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """Draw a readable file with bytes changed, removed and inserted, or a few bytes alone."""
    content = bytearray(draw(st.sampled_from(READERS[name].files)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        new = draw(
            st.binary(max_size=8)
            | st.sampled_from([b"\xff" * 4, b"\x7f" + b"\xff" * 7, b"\0" * 8, b"\0\0\0\x80"])
        )
        taken = draw(st.sampled_from([len(new), 0, 1, 100]))
        content[place : place + taken] = new
    return draw(st.sampled_from([bytes(content), bytes(new)]))


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_raises_no_other_error_than_value_error(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """A file of any bytes is read or refused, even if its checksums are not compared."""
    reader = READERS[name]
    path = tmp_path_factory.mktemp("files") / f"file.{reader.ending}"

    @settings(max_examples=200)
    @given(damaged(name))
    def read(content: bytes) -> None:
        with cheap_limits():
            reader.try_file(path, content)

    read()
