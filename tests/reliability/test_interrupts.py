"""Claims about Ctrl-C at random moments: nothing hangs, and nothing half-done is left."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

# Each child handles Ctrl-C even if a shell started the tests with `&`, which makes them ignore it.
HANDLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"

INTERRUPTED = """
import os, random, sys, threading
import numpy as np
from threadpoolctl import ThreadpoolController
import purenet
from purenet.engines import inplace, workers, threads

interrupts, name = int(sys.argv[1]), sys.argv[2]
for module in (inplace, workers, threads):
    module.processors = lambda: 4
inplace.WORK_PER_THREAD = workers.WORK_PER_WORKER = 1
workers.SECONDS = 1e-3
rng = np.random.default_rng(0)
x, y = rng.random((4096, 64), np.float32), rng.integers(0, 10, 4096)
params = purenet.init([64, 64, 10])
cfg = purenet.Config(batch_size=16)

def run():
    if name == "predict":
        purenet.predict(params, x)
    else:
        kind = {"inplace": inplace.InplaceEngine, "workers": workers.WorkersEngine}[name]
        kind(params, purenet.init_velocity(params), x, y, cfg).run(range(640))

def blas():
    pools = ThreadpoolController().select(user_api="blas").lib_controllers
    return [pool.num_threads for pool in pools]

run()
before, moments, done = blas(), random.Random(0), 0
for _ in range(interrupts):
    timer = threading.Timer(moments.uniform(0, 0.01), os.kill, [os.getpid(), signal.SIGINT])
    try:
        timer.start()
        while True:
            run()
    except KeyboardInterrupt:
        done += 1
    timer.join()
    assert blas() == before, (blas(), before)
    assert threading.active_count() == 1, threading.enumerate()
print(done)
"""


@pytest.mark.parametrize("name", ["inplace", "workers", "predict"])
def test_no_interrupt_of_threads_hangs(name: str, long: bool) -> None:  # noqa: FBT001
    """Each Ctrl-C ends a run of four threads, none is left, and BLAS has its threads again."""
    interrupts = 2000 if long else 60
    ran = subprocess.run(
        [sys.executable, "-c", HANDLE + INTERRUPTED, str(interrupts), name],
        capture_output=True,
        text=True,
        timeout=600 if long else 60,
        check=False,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "2"},
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{interrupts}\n", "")
    print(f"{name}: {interrupts} interrupts")


COMMAND = """
import sys
sys.modules["matplotlib.figure"] = None  # slow to import
from purenet.cli.entry import main
sys.exit(main())
"""
TRAIN = ["train", "--data", "data.npz", "--layers", "64-32-3", "--batch-size", "5", "--json"]
COMPILING = "purenet: compiling for float32, once: this takes some seconds\n"


def start(folder: Path, cache: str, name: str) -> subprocess.Popen[str]:
    """Start a training in a process of its own, and wait until it compiles or has ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HANDLE + COMMAND, *TRAIN, "--epochs", "2", "--output", name],
        cwd=folder,
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder / cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() in (COMPILING, "")
    return process


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a process; return its exit status and the rest of its stderr."""
    with process:
        err = process.communicate(timeout=300)[1]
    return process.returncode, err


def test_an_interrupt_while_two_processes_compile_harms_neither(
    tmp_path: Path,
    long: bool,  # noqa: FBT001
) -> None:
    """Two processes fill one cache, and one is interrupted: the other and a third are right."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 64)).astype("f4"), rng.integers(0, 3, 60)
    np.savez(tmp_path / "data.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])

    def trained(name: str) -> bytes:
        return (tmp_path / name / "model.safetensors").read_bytes()

    moments, interrupts, during = random.Random(0), 60 if long else 1, 0
    expected, seconds = None, 3.0
    for number in range(interrupts):
        one, other, third = (f"{number}-{name}" for name in ("one", "other", "third"))
        cache, began = f"cache-{number}", time.monotonic()
        processes = [start(tmp_path, cache, name) for name in (one, other)]
        time.sleep(moments.uniform(0, seconds))
        processes[0].send_signal(signal.SIGINT)
        outcome = end(processes[0])
        assert outcome in ((130, "purenet: interrupted\n"), (0, "")), f"interrupt {number}"
        during += outcome[0] == 130
        assert end(processes[1]) == (0, "")
        seconds = time.monotonic() - began
        assert end(start(tmp_path, cache, third)) == (0, "")
        expected = expected or trained(other)
        assert trained(other) == trained(third) == expected
    print(f"{interrupts} interrupts, {during} of them while the process compiled")
