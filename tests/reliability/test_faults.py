"""Claims about failing calls of the system: the last good checkpoint stays as it was."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from purenet import Config, State, init, init_velocity
from purenet.cli import commands
from purenet.cli.folder import RunFolder
from purenet.files import checkpoints
from tests.support.readers import PARTS, npz
from tests.support.systems import POSIX

CALLS = ("open", "write", "fsync", "replace", "close")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EINTR)
PIECE = 2000  # bytes that a write takes at most


class Faults:
    """The calls of the system on files, one of which fails: at once, or after half of a write."""

    def __init__(self, at: int | None, error: int, *, half: bool = False) -> None:
        self.at, self.error, self.half = at, error, half
        self.calls: list[str] = []

    @contextmanager
    def injected(self) -> Iterator[None]:
        """Let the call fail inside this context."""
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self.counted(name, getattr(os, name)))
            yield

    def counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call with a counter, which fails at its number."""

        def counting(*args: Any, **options: Any) -> Any:
            self.calls.append(name)
            if name == "write":
                args = args[0], args[1][:PIECE]
            if len(self.calls) - 1 != self.at:
                return call(*args, **options)
            if name == "close":  # a close that fails closes all the same
                call(*args, **options)
            if name == "write" and self.half:
                call(args[0], args[1][: len(args[1]) // 2])
            raise OSError(self.error, os.strerror(self.error))

        return counting


def same(path: Path, seed: int) -> bool:
    """Tell whether a file holds every bit of the checkpoint of a seed."""
    loaded, params = checkpoints.load(path), init([30, 40, 3], seed=seed)
    return (
        loaded.state is not None
        and loaded.state.epochs == seed
        and all(loaded.params[name].tobytes() == p.tobytes() for name, p in params.items())
    )


def save(path: Path, seed: int) -> None:
    """Save a checkpoint that depends on a seed."""
    params = init([30, 40, 3], seed=seed)
    checkpoints.save(path, params, Config(), state=State(init_velocity(params), seed))


@pytest.mark.parametrize("half", [False, True], ids=["whole", "half"])
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_a_checkpoint_is_whole_whichever_call_of_a_save_fails(
    tmp_path: Path,
    error: int,
    half: bool,  # noqa: FBT001
) -> None:
    """The file is the earlier one up to the rename and the new one after it, and the only one."""
    path = tmp_path / "model.safetensors"
    clean = Faults(None, error)
    with clean.injected():
        save(path, 1)
    assert clean.calls.count("write") > 5
    assert set(clean.calls) == set(CALLS)
    for at, name in enumerate(clean.calls):
        save(path, 1)
        faults = Faults(at, error, half=half)
        with faults.injected(), pytest.raises(OSError, match=os.strerror(error)) as caught:
            save(path, 2)
        assert (caught.value.errno, caught.value.filename) == (error, str(path))
        renamed = "replace" in clean.calls[:at]
        assert same(path, 2 if renamed else 1), f"call {at}, {name}"
        assert os.listdir(tmp_path) == [path.name]
    print(f"{len(clean.calls)} faults of {errno.errorcode[error]}")


def test_a_first_save_that_fails_leaves_no_file_or_the_whole_one(tmp_path: Path) -> None:
    """A first save that fails before the rename leaves no file; after it, the whole one."""
    path = tmp_path / "model.safetensors"
    clean = Faults(None, errno.EIO)
    with clean.injected():
        save(path, 1)
    for at in range(len(clean.calls)):
        path.unlink()
        with Faults(at, errno.EIO).injected(), pytest.raises(OSError, match="Input/output"):
            save(path, 1)
        if path.exists():
            assert same(path, 1)
        else:
            assert os.listdir(tmp_path) == []
            path.touch()


@POSIX
def test_a_file_that_the_kernel_cuts_short_is_not_put_in_place(tmp_path: Path, long: bool) -> None:  # noqa: FBT001
    """If the kernel allows fewer bytes than the whole file, the earlier file stays."""
    import resource

    path = tmp_path / "model.safetensors"
    save(path, 1)
    size, (soft, hard) = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    limits = range(0, size, 1 if long else 97)
    for limit in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                save(path, 2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert os.listdir(tmp_path) == [path.name]
    assert same(path, 1)
    print(f"{len(limits)} refusals of the kernel")


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_a_run_ends_in_the_same_bits_whichever_call_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: int,
    long: bool,  # noqa: FBT001
) -> None:
    """The command exits with 2 and one line; resumed or repeated, it ends in the same bits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    Path("data.npz").write_bytes(npz(**PARTS))
    train = ["train", "--data", "data.npz", "--layers", "6-4-2", "--batch-size", "1", "--quiet"]
    train += ["--input-scale", "1/11"]
    train += ["--epochs", "2", "--checkpoint-every", "1steps"]
    assert commands.main([*train, "--output", "first"]) == 0  # loads files that only it loads
    clean = Faults(None, error)
    with clean.injected():
        assert commands.main([*train, "--output", "whole"]) == 0
    whole = Path("whole/model.safetensors").read_bytes()
    for at in range(0, len(clean.calls), 1 if long else 5):
        folder = f"run-{at}"
        with Faults(at, error).injected():
            status = commands.main([*train, "--output", folder])
        err = capsys.readouterr().err
        assert status == 2, clean.calls[at]
        assert err.startswith("purenet: ")
        assert err.count("\n") == 1
        if Path(folder, "config.json").exists():
            assert commands.main(["train", "--resume", folder, "--quiet"]) == 0
        else:
            assert commands.main([*train, "--output", folder]) == 0
        assert Path(folder, "model.safetensors").read_bytes() == whole
        assert not list(Path(folder).glob(".*"))
    print(f"{len(clean.calls)} calls of a run, {errno.errorcode[error]}")


class PowerCut(BaseException):
    """The end of a process that nothing in it can handle."""


@contextmanager
def power_cut(at: int, calls: list[str]) -> Iterator[None]:
    """End this context at a call of the system. Neither that call nor a later one has an effect."""

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **options: Any) -> Any:
            calls.append(name)
            if name == "close":  # the system closes the files of a process that ends
                call(*args, **options)
            if len(calls) > at:
                raise PowerCut
            return call(*args, **options) if name != "close" else None

        return counting

    with pytest.MonkeyPatch.context() as patch, suppress(PowerCut):
        for name in (*CALLS, "unlink"):
            patch.setattr(os, name, counted(name, getattr(os, name)))
        yield


def replace_run(folder: Path, seed: int, epochs: int, cut_at: int = sys.maxsize) -> int:
    """Replace what is in a folder by a run; return the number of calls of the system."""
    calls: list[str] = []
    run = RunFolder(folder, make=True)
    with power_cut(cut_at, calls):
        run.start(overwrite=True)
        run.settings = {"seed": seed}
        params, cfg = init([30, 40, 3], seed=seed), Config(seed=seed)
        for epoch in range(1, epochs + 1):
            run.add({"epoch": epoch, "loss": 1.0, "test_loss": seed / 10, "test_accuracy": 0.5})
            run.stage(
                params, cfg, state=State(init_velocity(params), epoch), fingerprint="of the data"
            )
            run.save()
    run.close()  # frees the lock, as the end of a process does
    return len(calls)


def test_a_power_cut_while_a_run_is_replaced_mixes_no_two_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever call is the last, the folder holds one of the two runs, or no checkpoint."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found: list[int | None] = []
    for at in range(replace_run(tmp_path / "whole", 2, 1) + 2):
        folder = tmp_path / str(at)
        replace_run(folder, 1, 3)
        replace_run(folder, 2, 1, cut_at=at)
        run = RunFolder(folder, make=False)
        settings, checkpoint = run.resume()
        run.close()
        found.append(checkpoint.cfg.seed if checkpoint else None)
        if checkpoint:
            of_history = {round(10 * figures["test_loss"]) for figures in run.history}
            assert {settings["seed"], *of_history} == {checkpoint.cfg.seed}, f"call {at}"
    counts = [found.count(seed) for seed in (1, None, 2)]
    assert found == [1] * counts[0] + [None] * counts[1] + [2] * counts[2]
    assert counts[0] > counts[1]
    assert counts[2] > 0
    print(f"{len(found)} power cuts; {counts[1]} of them left no checkpoint")
