"""Where ``purenet train`` runs: in NumPy, in JAX, or in the processes of ``mpirun``."""

import atexit
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from purenet.cli.folder import RunFolder, SavedRun
from purenet.extras import require
from purenet.training import engine_class

__all__ = ["BACKENDS", "Backend", "ReportedError"]

GRACE = 2  # seconds that a process which ends by itself leaves the others to end too

T = TypeVar("T")


class ReportedError(Exception):
    """An error that another process reports."""


class Backend:
    """NumPy, in one process.

    Attributes
    ----------
    comm : mpi4py.MPI.Intracomm or None
        The processes of ``mpirun``.
    processes : int
        Their number.
    leads : bool
        Whether this process prints and writes. The others are silent.
    """

    comm: Any = None
    processes, leads = 1, True

    def __init__(self) -> None:
        started = os.environ.get("OMPI_COMM_WORLD_SIZE") or os.environ.get("PMI_SIZE") or "1"
        if started != "1":
            raise ValueError(
                f"mpirun started {started} processes: they need --mpi to train together"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Do nothing."""

    def describe(self, params: dict[str, Any], shards: int) -> str:
        """Say in some words what trains these parameters."""
        compiled = engine_class(params["W1"], shards).__name__ == "WorkersEngine"
        return "compiled workers" if compiled else "NumPy"

    def defaults(self) -> dict[str, Any]:
        """Return settings of a new run that others are chosen over."""
        return {}

    def place(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Return arrays of NumPy where this backend trains."""
        return arrays

    def together(self, function: Callable[[], T]) -> T:
        """Return what a function returns, which all processes call at this place."""
        return function()

    def open_run(self, make: Callable[[], tuple[RunFolder, SavedRun | None]]) -> Any:
        """Return the folder of the run, and what an earlier process saved there."""
        return make()


class JaxBackend(Backend):
    """JAX, on all devices."""

    def __init__(self) -> None:
        require("trainings with --backend jax", "jax", "jax")

    def describe(self, params: dict[str, Any], shards: int) -> str:  # noqa: ARG002
        """Name the devices."""
        devices = params["W1"].sharding.device_set
        return f"JAX on {len(devices)} x {next(iter(devices)).device_kind}"

    def place(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Return arrays of JAX that each device has a copy of."""
        import jax  # noqa: PLC0415  # an optional library
        from jax.sharding import NamedSharding, PartitionSpec  # noqa: PLC0415

        if arrays["W1"].dtype == "float64":
            jax.config.update("jax_enable_x64", True)  # noqa: FBT003
        mesh = jax.make_mesh((jax.device_count(),), ("batch",))
        placed = jax.device_put(arrays, NamedSharding(mesh, PartitionSpec()))
        return {name: placed[name] for name in arrays}  # JAX sorts the names


class MpiBackend(Backend):  # needs MPI
    """NumPy, in the processes of ``mpirun``.

    The first process prints and writes. A process that ends with an error of its own ends the
    others some seconds later, by ``mpirun``, whose signal the first process answers by saving.
    """

    def __init__(self) -> None:
        require("trainings with --backend mpi", "mpi", "mpi4py")
        from mpi4py import MPI  # noqa: PLC0415  # starts MPI

        self.comm = MPI.COMM_WORLD
        self.rank, self.processes = self.comm.Get_rank(), self.comm.Get_size()
        self.leads = self.rank == 0
        self._alone = False  # whether this process ends without the others
        self._at_the_end = self.comm.Dup()  # where no other message is on its way
        atexit.register(self._leave)
        if not self.leads:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115

    def describe(self, params: dict[str, Any], shards: int) -> str:  # noqa: ARG002
        """Count the processes."""
        return f"MPI, {self.processes} {'process' if self.processes == 1 else 'processes'}"

    def defaults(self) -> dict[str, Any]:
        """Return a number of shards that suits the processes."""
        if self.processes.bit_count() > 1:
            raise ValueError(
                f"the number of processes must be a power of two, got {self.processes}"
            )
        return {"shards": self.processes}

    def together(self, function: Callable[[], T]) -> T:
        """Return what a function returns. If it fails in one process, all raise an error."""
        result, error = None, None
        try:
            result = function()
        except (ValueError, OSError, ImportError, MemoryError) as problem:
            error = problem
        messages = self.comm.allgather(error and str(error))
        if error is not None and self.leads:
            raise error
        if self.leads and any(messages):
            rank = next(rank for rank, message in enumerate(messages) if message)
            raise ValueError(f"process {rank} of MPI: {messages[rank]}")
        if any(messages):
            raise ReportedError
        return result  # type: ignore[return-value]

    def open_run(self, make: Callable[[], tuple[RunFolder, SavedRun | None]]) -> Any:
        """Return the folder of the run in the first process, and a stand-in for it in others."""
        run, saved = self.together(lambda: make() if self.leads else (Bystander(), None))
        return run, self.comm.bcast(saved)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Note whether all processes end here, since they finished or raise the same error."""
        self._alone = kind is not None and not issubclass(kind, ReportedError | ArithmeticError)
        if self._alone and not self.leads and kind is not KeyboardInterrupt:
            sys.stderr = sys.__stderr__
            print(f"purenet: process {self.rank} of MPI ends with this error:", file=sys.stderr)

    def _leave(self) -> None:
        """Wait for the others to leave as well. After an error of this process, end them soon."""
        request, latest = self._at_the_end.Ibarrier(), time.monotonic() + GRACE
        while not request.Test():
            if self._alone and time.monotonic() > latest:
                self.comm.Abort(2)
            time.sleep(0.01)


class Bystander:  # needs MPI
    """Stand in for a `RunFolder` in a process that writes nothing."""

    settings: dict[str, Any]
    without_curves = ""
    folder = Path()

    def add(self, figures: dict[str, float]) -> None:
        """Do nothing."""

    def stage(self, *checkpoint: Any, **about: Any) -> None:
        """Do nothing."""

    def save(self) -> None:
        """Do nothing."""

    def close(self) -> list[str]:
        """Name no file."""
        return []


BACKENDS = {"numpy": Backend, "jax": JaxBackend, "mpi": MpiBackend}
