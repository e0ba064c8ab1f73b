"""Claims about files that are written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from purenet.files.writing import write
from tests.support.systems import POSIX, watch_flushes


def test_a_write_that_takes_only_a_part_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may write fewer bytes than it was given; the rest follows."""
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:3]))
    write(tmp_path / "file", bytes(range(100)))
    assert (tmp_path / "file").read_bytes() == bytes(range(100))


@pytest.mark.parametrize("opens_folders", [pytest.param(True, marks=POSIX), False])
def test_the_file_is_flushed_before_its_rename_and_the_folder_after_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opens_folders: bool,  # noqa: FBT001
) -> None:
    """The disk has the bytes before it has the name; only Windows flushes no folder."""
    done: list[str] = []
    replace = os.replace

    def replaced(source: Path, target: Path) -> None:
        done.append(f"rename {source.name} {target.name}")
        replace(source, target)

    watch_flushes(monkeypatch, lambda path: done.append(f"flush {path.name}"))
    monkeypatch.setattr(os, "replace", replaced)
    if not opens_folders:
        monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    write(tmp_path / "file", b"content")
    part = f".part-{os.getpid()}-file"
    expected = [f"flush {part}", f"rename {part} file", f"flush {tmp_path.name}"]
    assert done == (expected if opens_folders else expected[:2])


def test_an_error_of_writing_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the path, which the system leaves out, and no file is left."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    path = tmp_path / "file"
    with pytest.raises(OSError, match="No space left") as caught:
        write(path, b"content")
    assert (caught.value.filename, caught.value.errno) == (str(path), errno.ENOSPC)
    assert os.listdir(tmp_path) == []
