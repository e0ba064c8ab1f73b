"""A communicator whose processes are threads, so that MPI need not be installed or started."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

__all__ = ["ThreadComm", "in_threads"]


class Request:
    """A message that arrives when a function returns true."""

    def __init__(self, test: Callable[[], bool]) -> None:
        self.Test = test


class ThreadComm:
    """What `purenet` uses of mpi4py's communicators, for one of several threads."""

    def __init__(self, rank: int, size: int, barrier: threading.Barrier, board: dict[Any, Any]):
        self.rank, self.size, self.barrier, self.board = rank, size, barrier, board
        self.counts: dict[Any, int] = {}

    def Get_rank(self) -> int:  # noqa: N802
        return self.rank

    def Get_size(self) -> int:  # noqa: N802
        return self.size

    def numbered(self, *key: Any) -> Any:
        """Return the key of the next message of this kind."""
        self.counts[key] = self.counts.get(key, 0) + 1
        return (*key, self.counts[key])

    def allgather(self, value: Any) -> list[Any]:
        number = self.numbered("allgather")
        self.board[*number, self.rank] = value
        self.barrier.wait()
        return [self.board[*number, rank] for rank in range(self.size)]

    def Iallgather(self, sent: Any, received: Any) -> Request:  # noqa: N802
        number = self.numbered("Iallgather")
        self.board[*number, self.rank] = np.array(sent)
        keys = [(*number, rank) for rank in range(self.size)]

        def test() -> bool:
            if not all(key in self.board for key in keys):
                return False
            received[:] = np.concatenate([self.board[key] for key in keys])
            return True

        return Request(test)

    def Isend(self, sent: Any, to: int) -> Request:  # noqa: N802
        self.board[self.numbered("message", self.rank, to)] = np.array(sent)
        return Request(lambda: True)

    def Irecv(self, received: Any, source: int) -> Request:  # noqa: N802
        number = self.numbered("message", source, self.rank)

        def test() -> bool:
            if number in self.board:
                received[:] = self.board.pop(number)
                self.board[number] = received  # tested again after it has come
                return True
            return False

        return Request(test)


def in_threads(size: int, function: Callable[[Any], Any]) -> list[Any]:
    """Return what a function of its communicator returns, or the exception, in each thread."""
    barrier, board = threading.Barrier(size, timeout=60), dict[Any, Any]()

    def call(rank: int) -> Any:
        try:
            return function(ThreadComm(rank, size, barrier, board))
        except Exception as error:  # the others' are wanted too
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(call, range(size)))
