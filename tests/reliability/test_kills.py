"""Claims about killed processes: a run that is killed at any moment resumes to the same bits."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from purenet.files import checkpoints
from tests.support.systems import POSIX

# The network is wide enough for two compiled workers.
CODE = """
import sys
sys.modules["matplotlib.figure"] = None  # slow to import
from purenet.engines import workers

class TwoWorkers(workers.WorkersEngine):
    def __init__(self, *args):
        super().__init__(*args)
        assert self.workers == 2

workers.WorkersEngine = TwoWorkers
workers.processors = lambda: 2
from purenet.cli.commands import main
sys.exit(main())
"""
TRAIN = ["--data", "data.npz", "--layers", "64-256-48-3", "--batch-size", "5", "--epochs", "4"]
TRAIN += ["--checkpoint-every", "1steps"]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start a training in a process of its own."""
    command = [sys.executable, "-c", CODE, "train", *options]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(folder: Path, *options: str) -> None:
    """Train to the end in a process of its own."""
    with start(folder, *options, "--quiet") as process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def outcome(folder: Path) -> tuple[bytes, bytes, list[tuple[float, ...]]]:
    """Return the checkpoint, the settings and the figures of a run, without the times."""
    rows = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    figures = [
        tuple(row[name] for name in ("epoch", "loss", "test_loss", "test_accuracy")) for row in rows
    ]
    files = [(folder / name).read_bytes() for name in ("model.safetensors", "config.json")]
    return files[0], files[1], figures


@POSIX
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, long: bool) -> None:  # noqa: FBT001
    """After SIGKILL at a random moment, --resume ends with the files of the uninterrupted run."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 64)).astype("f4"), rng.integers(0, 3, 100)
    np.savez(tmp_path / "data.npz", x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    finish(tmp_path, *TRAIN, "--output", "compiled")  # compiles for the processes below
    with start(tmp_path, *TRAIN, "--output", "whole") as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        assert process.wait(60) == 0
        duration = time.monotonic() - began
    whole = outcome(tmp_path / "whole")

    moments, survived = random.Random(0), 0
    steps, halves, kills = set(), 0, 100 if long else 2
    for number in range(kills):
        run = tmp_path / str(number)
        with start(tmp_path, *TRAIN, "--output", run.name) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0, duration))
            process.kill()
            assert process.wait(60) in (-signal.SIGKILL, 0)
        state = None
        if (run / "model.safetensors").exists():
            state = checkpoints.load(run / "model.safetensors").state
            assert state is not None
            steps.add((state.epochs, state.steps))
        halves += any(run.glob(".part-*"))
        if (run / "config.json").exists():
            finish(tmp_path, "--resume", run.name)
        else:  # the process had written nothing
            finish(tmp_path, *TRAIN, "--output", run.name)
        assert outcome(run) == whole, f"kill {number} at {state}"
        survived += 1
    print(f"{survived} of {kills} kills, at {len(steps)} steps; {halves} while a file was written")
    assert survived == kills
