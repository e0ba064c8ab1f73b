"""Training by the processes of an MPI communicator, each of which computes shards of every batch.

Every process holds all parameters, and takes the same steps. A step reads only the rows of the
shards of this process. For each batch the processes exchange two things: the cross-entropies of the
shards, and the sum of their gradients, which is one vector. The sum is taken in the binary tree of
`Config.shards`, so its bits do not depend on the number of processes.
"""

import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purenet import __version__
from purenet.config import Config
from purenet.engines.inplace import InplaceEngine
from purenet.engines.threads import serial_blas
from purenet.params import Params

__all__ = ["MpiEngine", "begin_together"]

abandoned: list[Any] = []  # unfinished requests: MPI may still write into the buffers they hold
PATIENCE = 300  # seconds that a process waits for another one, which may be writing a checkpoint


def begin_together(comm: Any, arguments: Callable[[], dict[str, Any]]) -> None:
    """Refuse to begin if a process refuses its arguments, or they differ from those of process 0.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        The processes.
    arguments : callable
        Returns a description of the arguments, by their names, or raises ValueError.

    Raises
    ------
    ValueError
        In every process.
    """
    described: dict[str, Any] = {}
    refusal: Exception | None = None
    try:
        described = arguments() | {"versions": _versions()}
    except Exception as error:  # the others wait for this process
        refusal = error
    everyone = comm.allgather((described, refusal and str(refusal)))
    if refusal is not None:
        raise refusal
    for rank, (other, message) in enumerate(everyone):
        if message:
            raise ValueError(f"process {rank} of MPI: {message}")
        for name, value in everyone[0][0].items():
            if other[name] != value:
                raise ValueError(
                    f"all processes of MPI need the same {name}: process 0 has {value}, "
                    f"process {rank} has {other[name]}"
                )


def _versions() -> str:
    """Describe what the rounding of a process depends on."""
    blas = [
        f"{pool.internal_api} {pool.version} for {getattr(pool, 'architecture', 'any processor')}"
        for pool in serial_blas.pools
    ]
    versions = {
        "Python": platform.python_version(),
        "purenet": __version__,
        "NumPy": np.__version__,
    }
    return ", ".join([*(f"{name} {number}" for name, number in versions.items()), *blas])


class MpiEngine(InplaceEngine):
    """Compute what `ReferenceEngine` computes, up to rounding, with other processes.

    Parameters
    ----------
    params, velocity : dict of numpy.ndarray
        As for `InplaceEngine`, the same in all processes.
    x, y : numpy.ndarray
        As for `InplaceEngine`. A step reads only the rows of this process's shards.
    cfg : Config
        Hyperparameters.
    comm : mpi4py.MPI.Intracomm
        The processes, as many as divide ``cfg.shards``.
    """

    def __init__(
        self,
        params: Params,
        velocity: Params,
        x: NDArray[Any],
        y: NDArray[Any],
        cfg: Config,
        comm: Any,
    ) -> None:
        self.comm = comm
        super().__init__(
            params, velocity, x, y, cfg, process=comm.Get_rank(), processes=comm.Get_size()
        )

    def check_signals(self) -> None:
        """End the run if a signal has come, since other processes may have ended already."""
        if self.signals.received:
            super().check_signals()
            raise KeyboardInterrupt

    def combine(self, entropies: NDArray[Any]) -> float:
        """Add gradients and cross-entropies over the shards of all processes."""
        of_all = np.empty(self.count)
        request = self.comm.Iallgather(entropies, of_all)
        super().combine(entropies)
        self._add_over_processes(self.gradients[0], self.scratch)
        self._wait([request])
        return sum(of_all.tolist())

    def _add_over_processes(self, vector: NDArray[Any], received: NDArray[Any]) -> None:
        """Replace the vectors of all processes with their sum, added in a binary tree.

        Two processes at distance 1 each add one half of both their vectors, then two at distance 2
        one half of that half, and so on. In the reverse order each process receives the sums of the
        others. Each sends 2 (1 - 1 / processes) times the vector, the least that is possible.

        References
        ----------
        R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective Communication Operations
        in MPICH", 2005, section 4.5.
        """
        rank, mine, distance = self.comm.Get_rank(), slice(0, vector.size), 1
        exchanged = []
        while distance < self.comm.Get_size():
            middle = (mine.start + mine.stop) // 2
            halves = slice(mine.start, middle), slice(middle, mine.stop)
            upper = bool(rank & distance)
            mine, theirs = halves[upper], halves[not upper]
            self._exchange(rank ^ distance, vector[theirs], received[mine])
            vector[mine] += received[mine]
            exchanged.append((rank ^ distance, mine, theirs))
            distance *= 2
        for partner, mine, theirs in reversed(exchanged):
            self._exchange(partner, vector[mine], vector[theirs])

    def _exchange(self, partner: int, sent: NDArray[Any], received: NDArray[Any]) -> None:
        # MPI has no type for float16. It does no arithmetic here, so integers do for all.
        integers = f"u{sent.itemsize}"
        self._wait(
            [
                self.comm.Irecv(received.view(integers), partner),
                self.comm.Isend(sent.view(integers), partner),
            ]
        )

    def _wait(self, requests: list[Any]) -> None:
        """Wait for messages, but end on a signal, or if none comes for too long."""
        latest = time.monotonic() + PATIENCE
        try:
            while not all(request.Test() for request in requests):
                self.check_signals()
                if time.monotonic() > latest:
                    raise TimeoutError(
                        f"another process has sent nothing for {PATIENCE} s: it has ended, or hangs"
                    )
                time.sleep(0)  # the other process may need this processor
        except BaseException:
            abandoned.extend(requests)
            raise
