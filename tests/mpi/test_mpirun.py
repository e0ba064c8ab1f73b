"""Claims about ``mpirun``, which ``pytest --mpi`` tests: they need mpi4py and a runtime of MPI."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purenet import load
from purenet.cli.commands import main

# A user of CI is often root, and has fewer cores than processes.
ENVIRONMENT = os.environ | {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OPENBLAS_NUM_THREADS": "1",
}
TRAIN = ["-m", "purenet", "train", "--mpi", "--data", "digits.npz", "--layers", "16-30-20-3"]
FOUR = ["--shards", "4", "--epochs", "400", "--checkpoint-every", "20"]
LONG = [*TRAIN, *FOUR]
ALONE = [argument for argument in TRAIN[2:] if argument != "--mpi"]  # for `main`


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder that holds a small data set."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (1000, 16), np.uint8), rng.integers(0, 3, 1000)
    np.savez("digits.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])


def start(processes: int, *arguments: str) -> subprocess.Popen[str]:
    """Start Python in so many processes."""
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = ["mpirun", "-n", str(processes), sys.executable, *arguments]
    return subprocess.Popen(command, env=ENVIRONMENT, **streams)


def run(processes: int, *arguments: str) -> tuple[int, str, str]:
    """Return exit status, stdout, and what purenet wrote to stderr."""
    process = start(processes, *arguments)
    out, err = process.communicate(timeout=120)
    return (
        process.returncode,
        out,
        "".join(ln for ln in err.splitlines(keepends=True) if "purenet:" in ln),
    )


def epochs_of(run: str) -> int:
    """Return how many epochs a run has done by its last checkpoint."""
    state = load(run).state
    assert state is not None
    return state.epochs


def same(one: str, other: str) -> bool:
    """Tell whether two runs have the same checkpoint, byte for byte."""
    name = "model.safetensors"
    return Path(one, name).read_bytes() == Path(other, name).read_bytes()


def test_processes_write_the_bytes_of_one() -> None:
    """With 4 shards, one process and 1, 2 and 4 processes of MPI write the same checkpoint."""
    options = ["--shards", "4", "--epochs", "3"]
    assert main([*ALONE, *options, "--output", "alone", "--quiet"]) == 0
    for processes in (1, 2, 4):
        status, out, err = run(processes, *TRAIN, *options, "--output", f"of-{processes}")
        assert (status, err) == (0, "")
        assert f"; MPI, {processes} process" in out.splitlines()[0]
        assert len(out.splitlines()) == 6  # one process prints
        assert same("alone", f"of-{processes}")


def test_shards_are_the_processes_if_not_given() -> None:
    """`mpirun -n 2 purenet train --mpi` is enough, and the shards stay with the run."""
    assert run(2, *TRAIN, "--epochs", "1", "--output", "two")[0] == 0
    assert load("two").cfg.shards == 2
    assert main(["train", "--resume", "two", "--epochs", "2", "--quiet"]) == 0


@pytest.mark.parametrize("victim", [0, 3])
def test_a_run_whose_process_is_killed_goes_on_with_others(victim: int) -> None:
    """SIGKILL of one of 4 ends all in 10 s; 1 and 2 processes go on to the same bits."""
    process = start(4, *LONG, "--output", "killed")
    for _ in range(1000):
        time.sleep(0.02)
        if Path("killed/model.safetensors").exists():
            break
    pids = subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True)
    os.kill(int(pids.split()[victim]), signal.SIGKILL)
    killed_at = time.monotonic()
    process.communicate(timeout=10)
    assert process.returncode != 0
    assert time.monotonic() - killed_at < 10
    assert 0 < epochs_of("killed") < 400
    assert main([*ALONE, *FOUR, "--output", "whole", "--quiet"]) == 0
    subprocess.run(["cp", "-r", "killed", "again"], check=True)
    assert main(["train", "--resume", "killed", "--quiet"]) == 0
    assert same("killed", "whole")
    status, _, err = run(2, "-m", "purenet", "train", "--mpi", "--resume", "again")
    assert (status, err) == (0, "")
    assert same("again", "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_mpirun_saves(number: int) -> None:
    """Ctrl-C and SIGTERM save what was trained since the last checkpoint."""
    arguments = [*LONG[:-1], "10000", "--epochs", "100000", "--output", "stopped"]
    process = start(2, *arguments, "--json")
    for _ in range(50):
        process.stdout.readline()  # type: ignore[union-attr]
    process.send_signal(number)
    process.communicate(timeout=20)
    assert epochs_of("stopped") >= 49
    assert len(Path("stopped/history.jsonl").read_text().splitlines()) >= 49


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--learning-rate", "1e9"], 1, "purenet: training stopped being finite in epoch 1, step"),
        (["--shards", "1"], 2, "purenet: 2 processes need cfg.shards to be a multiple of 2, got 1"),
        (["--data", "none.npz"], 2, "purenet: none.npz: No such file or directory"),
        (["--resume", "none"], 2, "purenet: none is not a folder"),
        (["--overwrite", "--resume", "none"], 2, "purenet: --resume cannot be combined"),
    ],
)
def test_all_processes_end_with_one_message(
    arguments: list[str], status: int, message: str
) -> None:
    """Divergence and bad input give one line, from one process, and the exit status."""
    got, _, err = run(2, *TRAIN, *arguments)
    assert got == status
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_processes_with_other_arguments_refuse_to_begin() -> None:
    """Processes that were started with different options name the difference, once."""
    seeds = "import os, sys; from purenet.cli.commands import main; "
    seeds += "sys.exit(main([*sys.argv[1:], '--seed', os.environ['OMPI_COMM_WORLD_RANK']]))"
    status, _, err = run(2, "-c", seeds, *TRAIN[2:])
    assert status == 2
    assert err == (
        "purenet: all processes of MPI need the same cfg.seed: process 0 has 0, process 1 has 1\n"
    )


LIBRARY = """
from mpi4py import MPI
import numpy as np
import purenet
data = np.load("digits.npz")
cfg = purenet.Config(epochs=2, shards=2)
data = data["x_train"], data["y_train"]
result = purenet.train(purenet.init([16, 30, 3]), data, cfg, comm=MPI.COMM_WORLD)
alone = purenet.train(purenet.init([16, 30, 3]), data, cfg)
for name, p in alone.params.items():
    assert np.array_equal(p, result.params[name])
assert alone.history == result.history
print("done")
"""


def test_the_library_trains_in_several_processes() -> None:
    """`train(..., comm=MPI.COMM_WORLD)` gives every process the bits of one."""
    assert run(2, "-c", LIBRARY)[:2] == (0, "done\ndone\n")


def test_a_model_larger_than_a_message() -> None:
    """Parameters of several megabytes arrive whole, too."""
    assert (
        run(2, *TRAIN, "--layers", "16-1500-1500-3", "--epochs", "1", "--output", "large")[0] == 0
    )
    options = ["--layers", "16-1500-1500-3", "--epochs", "1", "--shards", "2", "--output", "one"]
    assert main([*ALONE, *options, "--quiet"]) == 0
    assert same("large", "one")


def test_another_number_of_processes_than_a_power_of_two_is_refused() -> None:
    """The message is about the processes, since no shards were asked for."""
    status, _, err = run(3, *TRAIN)
    assert status == 2
    assert err == "purenet: the number of processes must be a power of two, got 3\n"
