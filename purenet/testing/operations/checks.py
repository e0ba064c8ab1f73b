"""Check an operation: its results within a bound for each element, and laws beside the bound."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from purenet.params import check_integer
from purenet.testing.operations.catalogue import OPERATIONS, Operation
from purenet.testing.operations.double_double import Double
from purenet.testing.operations.examples import Draw, Example
from purenet.testing.operations.libraries import Library, numbers_of
from purenet.testing.operations.precision import FORMATS, Arithmetic, Bound, Precision

__all__ = ["Failure", "OperationReport", "OutputReport", "check_operation"]

Vector: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Failure:
    """Hold a law that failed, at its first example.

    Parameters
    ----------
    law : str
        The claim that is false.
    message : str
        What was seen.
    example : int
        The number of the example.
    described : str
        The kind of its values and its shapes.
    """

    law: str
    message: str
    example: int
    described: str


@dataclass(frozen=True)
class OutputReport:
    """Hold how near a result came to its bound, and what its bound would have missed.

    Parameters
    ----------
    name : str
        The name of the result.
    worst_share : float
        The largest error as a share of its bound; above 1 it is wrong. NaN if no element was
        compared, as when every call raised.
    where : str
        The element and the example with this share.
    smallest_seen, median_seen, worst_seen : float
        The smallest relative error that is sure to be caught: in the best element, in half of the
        elements, and in all, over ordinary values; infinite if there were none. A right result may
        be off by the bound, so an error is sure to be caught from twice the bound on.
    """

    name: str
    worst_share: float
    where: str
    smallest_seen: float
    median_seen: float
    worst_seen: float


@dataclass(frozen=True)
class OperationReport:
    """Hold the findings of `check_operation`. `str` gives a summary.

    Parameters
    ----------
    operation : str
        The name of the operation.
    precision : Precision
        Its formats.
    library : str
        The array library.
    bound : {"worst-case", "probabilistic"}
        Which bound of sums.
    seed, examples, max_size : int
        They decide the examples.
    options : dict
        The device, and whether batches were cut, if they were given.
    outputs : tuple of OutputReport
        One for each result.
    failures : tuple of Failure
        One for each law that failed.
    """

    operation: str
    precision: Precision
    library: str
    bound: Bound
    seed: int
    examples: int
    max_size: int
    options: dict[str, Any]
    outputs: tuple[OutputReport, ...]
    failures: tuple[Failure, ...]

    @property
    def ok(self) -> bool:
        """Tell whether no law failed."""
        return not self.failures

    def raise_if_wrong(self) -> None:
        """Raise AssertionError, with the report as its message, unless `ok`."""
        if not self.ok:
            raise AssertionError(str(self))

    def to_json(self) -> str:
        """Return the report as a JSON object."""
        numbers = {"ok": self.ok, **asdict(self)}
        finite = json.loads(json.dumps(numbers), parse_constant=str)  # JSON has no infinity
        return json.dumps(finite, indent=1, allow_nan=False)

    def replay(self, failure: Failure) -> str:
        """Return the call that tries the example of a failure alone."""
        options = {"bound": self.bound} if self.bound != "worst-case" else {}
        more = "".join(f", {name}={value!r}" for name, value in (options | self.options).items())
        return (
            f"check_operation(f, {self.operation!r}, precision={self.precision}, "
            f"xp={self.library}, seed={self.seed}, example={failure.example}, "
            f"max_size={self.max_size}{more})"
        )

    def __str__(self) -> str:
        answer = "ok" if self.ok else "WRONG"
        count = f"{self.examples} example{'s' * (self.examples > 1)}"
        lines = [f"{self.operation} {answer}: {count} in {self.library}"]
        lines += [f"{self.precision}, {self.bound} bound"]
        for failure in self.failures:
            lines += [
                f"law failed: {failure.law}",
                f"  {failure.message}",
                f"  {failure.described}",
                f"  replay: {self.replay(failure)}",
            ]
        laws = [failure.law for failure in self.failures]
        narrow = self.precision.storage != self.precision.accumulate
        if "results are within their bounds" in laws and self.precision.fused and narrow:
            lines += ["a chain of array operations stores what is between: it needs fused=False"]
        for out in self.outputs:
            if math.isnan(out.worst_share):
                lines += [f"{out.name}: no element was compared"]
                continue
            lines += [f"{out.name}: worst error {out.worst_share:.3g} of its bound ({out.where})"]
            if math.isfinite(out.smallest_seen):
                seen = f"{out.smallest_seen:.2g} in the best element, {out.median_seen:.2g} in half"
                seen += f" of them, {out.worst_seen:.2g} in all"
                lines += [f"  smallest relative error sure to be caught: {seen}"]
        return "\n".join(lines)


def check_operation(
    f: Callable[..., Any],
    operation: str,
    *,
    precision: Precision,
    xp: Any = np,
    device: Any = None,
    seed: int = 0,
    examples: int = 100,
    example: int | None = None,
    max_size: int = 257,
    bound: Bound = "worst-case",
    batch_invariant: bool = False,
) -> OperationReport:
    """Compare an operation with its exact result, on shapes and values where kernels break.

    Each element must lie within a bound that is derived from the operands, the shapes and the
    precision. Beside this,

    - arguments are not written, and equal calls give equal bits;
    - a NaN in one row of the batch shows in its results and in no others;
    - results do not depend on what the memory held before.

    Parameters
    ----------
    f : callable
        The function under test. It takes arrays of `xp` positionally, and returns one or a tuple.
    operation : str
        The name of an operation. :doc:`/check/first-check` has a table of the names, with
        signatures and equations.
    precision : Precision
        The formats in which the function stores and computes.
    xp : module
        The array library: ``numpy``, ``torch``, ``jax.numpy``, ``cupy`` or another one.
    device : device, optional
        The device of the arrays.
    seed : int
        Seed of the examples.
    examples : int
        The number of examples.
    example : int, optional
        The number of the only example to try, from an earlier report.
    max_size : int
        The largest dimension.
    bound : {"worst-case", "probabilistic"}
        The worst case of all rounding errors; or, for long sums in narrow formats, a bound that a
        right function breaks with a probability of at most 1e-6. Its values have random signs.
    batch_invariant : bool
        Whether a row of a result must keep its bits where its batch is cut, padded or reordered.

    Returns
    -------
    OperationReport
        The findings; call its `raise_if_wrong` in a test.

    Raises
    ------
    ValueError
        Arguments that are not as described above; a precision in which the worst case says next to
        nothing about sums of `max_size` terms, or which the library does not have.

    See Also
    --------
    purenet.testing.operations.catalogue : How the bounds are derived.
    purenet.testing.operations.precision : The model of rounding that they follow from.

    Examples
    --------
    >>> def f(x, W, b):
    ...     return np.maximum(x @ W + b, 0)
    >>> check_operation(f, "linear_relu", precision=Precision("float32")).ok
    True
    >>> def without_bias_in_the_last_column(x, W, b):
    ...     return np.maximum(x @ W + np.append(b[:-1], 0), 0).astype(x.dtype)
    >>> report = check_operation(
    ...     without_bias_in_the_last_column, "linear_relu", precision=Precision("float32")
    ... )
    >>> report.failures[0].law
    'results are within their bounds'
    """
    if not callable(f):
        raise ValueError(f"f must be a function, got {f!r}")
    if operation not in OPERATIONS:
        raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, got {operation!r}")
    if not isinstance(precision, Precision):
        raise ValueError(f"precision must be a Precision, got {precision!r}")
    if bound not in get_args(Bound):
        raise ValueError(f"bound must be one of {', '.join(get_args(Bound))}, got {bound!r}")
    examples = check_integer("examples", examples, least=1)
    max_size = check_integer("max_size", max_size, least=1)
    seed = check_integer("seed", seed, least=0)
    numbers: Sequence[int] = range(examples)
    if example is not None:
        numbers = [check_integer("example", example, least=0)]
    what = OPERATIONS[operation]
    if batch_invariant and what.by_row is None:
        raise ValueError(f"{operation} has no rows of its own: it has no batch invariance to check")
    arithmetic = Arithmetic(precision, bound)
    arithmetic.check_terms(max_size + 1)

    trial = Trial(f, what, arithmetic, Library(xp, device), batch_invariant=batch_invariant)
    for number in numbers:
        draw = Draw(number, seed, precision.storage, bound, max_size)
        trial.run(Example(number, draw.kind, what.draw(draw)))
    options = {} if device is None else {"device": str(device)}
    return OperationReport(
        operation,
        precision,
        trial.library.name,
        bound,
        seed,
        len(numbers),
        max_size,
        options | ({"batch_invariant": True} if batch_invariant else {}),
        trial.outputs(),
        tuple(trial.failures.values()),
    )


class Wrong(Exception):  # noqa: N818  # a finding, not an error
    """Report that a law failed."""

    def __init__(self, law: str, message: str) -> None:
        self.law, self.message = law, message


class Trial:
    """Try a function on examples, and collect what was found."""

    def __init__(
        self,
        f: Callable[..., Any],
        operation: Operation,
        arithmetic: Arithmetic,
        library: Library,
        *,
        batch_invariant: bool,
    ) -> None:
        self.f, self.operation, self.arithmetic, self.library = f, operation, arithmetic, library
        self.precision = arithmetic.precision
        self.batch_invariant = batch_invariant
        self.failures: dict[str, Failure] = {}
        self.shares: list[tuple[float, str]] = [(math.nan, "")] * len(operation.outputs)
        self.seen: list[list[Vector]] = [[] for _ in operation.outputs]

    def run(self, example: Example) -> None:
        """Try every law on an example, and keep the first failure of each."""
        laws = [self.bounds_and_bits, self.nan_stays_in_its_row]
        laws += [self.rows_keep_their_bits] * self.batch_invariant
        for law in laws:
            try:
                law(example)
            except Wrong as wrong:
                failure = Failure(wrong.law, wrong.message, example.number, str(example))
                self.failures.setdefault(wrong.law, failure)

    def outputs(self) -> tuple[OutputReport, ...]:
        """Return the findings of each result."""
        reports = []
        for name, (share, where), seen in zip(
            self.operation.outputs, self.shares, self.seen, strict=True
        ):
            every = np.concatenate(seen) if any(map(len, seen)) else np.full(1, np.inf)
            numbers = (np.min(every), np.median(every), np.max(every))
            reports.append(OutputReport(name, share, where, *map(float, numbers)))
        return tuple(reports)

    def bounds_and_bits(self, example: Example) -> None:
        """Check the form of the results, their bounds, their bits and the arguments."""
        given = self._arrays(example.arguments)
        exact = self.operation.exact(*example.arguments)
        shapes = shapes_of(exact)
        self._leave(np.nan, shapes)
        results = self._call(given, shapes)
        for array, before in zip(given, example.arguments, strict=True):
            if not np.array_equal(numbers_of(array) if np.ndim(before) else before, before):
                raise Wrong("arguments are not written", "an argument changed")
        self._check_bits(given, shapes, results)
        errors = self._errors(exact, example.arguments)
        for k, (got, one, error) in enumerate(zip(results, exact, errors, strict=True)):
            share, index = worst_share(got, one, error, FORMATS[self.precision.output])
            name = self.operation.outputs[k] + (str(list(index)) if index else "")
            if not share <= self.shares[k][0]:  # the first is compared with NaN
                self.shares[k] = share, f"{name}, {example}"
            if example.kind == "ordinary":
                size = np.abs(one.high)
                nonzero = size > 0
                self.seen[k].append((2 * error[nonzero] / size[nonzero]).ravel())
            if share > 1:
                raise Wrong(
                    "results are within their bounds",
                    f"{name} is {got[index]:.9g}, exact {one.high[index]:.17g}: off by "
                    f"{abs(got[index] - one.high[index]):.3g} where rounding explains "
                    f"{error[index]:.3g}",
                )

    def _check_bits(
        self, given: list[Any], shapes: list[tuple[int, ...]], results: list[Vector]
    ) -> None:
        """Refuse results that differ between equal calls, or between what the memory held."""
        self._leave(1e4, shapes)
        again = self._call(given, shapes)
        if all(map(same_bits, results, again)):
            return
        self._leave(1e4, shapes)
        law = "equal calls give equal bits"
        if all(map(same_bits, again, self._call(given, shapes))):
            law = "results do not depend on what the memory held before"
        names = self.operation.outputs
        first = next(
            k for k, two in enumerate(zip(results, again, strict=True)) if not same_bits(*two)
        )
        raise Wrong(law, f"two calls on the same arguments gave different {names[first]}")

    def nan_stays_in_its_row(self, example: Example) -> None:
        """Put a NaN in one place: it shows, and only where the definition says."""
        rng = np.random.default_rng(example.number)
        arguments = [a.copy() if isinstance(a, np.ndarray) else a for a in example.arguments]
        floats = [a for a in arguments if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
        target = floats[rng.integers(len(floats))]
        place = [int(rng.integers(n)) for n in target.shape]
        if not self.operation.rounds and arguments[1][*place] <= self.arithmetic.underflow:
            return  # δ is dropped where z is 0, or may be flushed to 0, and with it the NaN
        target[*place] = np.nan
        described = f"an argument of shape {target.shape}"
        exact = self.operation.exact(*arguments)
        results = self._call(self._arrays(arguments), shapes_of(exact))
        law = "a NaN shows in its own results and in no others"
        for name, got, one in zip(self.operation.outputs, results, exact, strict=True):
            lost = np.isnan(one.high)
            if not np.isnan(got[lost]).all():
                index = [int(i) for i in np.argwhere(lost & ~np.isnan(got))[0]]
                raise Wrong(law, f"a NaN at {place} of {described} is lost in {name}{index}")
            spread = np.isnan(got) & ~lost
            if spread.any():
                index = [int(i) for i in np.argwhere(spread)[0]]
                raise Wrong(law, f"a NaN at {place} of {described} makes {name}{index} NaN too")

    def rows_keep_their_bits(self, example: Example) -> None:
        """Cut, pad and reverse the batch: each row of a result keeps its bits."""
        assert self.operation.by_row is not None
        inputs, outputs = self.operation.by_row
        shapes = shapes_of(self.operation.exact(*example.arguments))
        whole = self._call(self._arrays(example.arguments), shapes)
        n = len(example.arguments[inputs[0]])
        for what, rows in batches_of(n):
            arguments = list(example.arguments)
            for k in inputs:
                arguments[k] = arguments[k][rows]
            of_part = [
                (len(rows), *shape[1:]) if k in outputs else shape for k, shape in enumerate(shapes)
            ]
            part = self._call(self._arrays(arguments), of_part)
            for k in outputs:
                if not same_bits(part[k], whole[k][rows]):
                    name = self.operation.outputs[k]
                    raise Wrong("a row does not depend on its batch", f"{name} changes {what}")

    def _arrays(self, arguments: Sequence[Any]) -> list[Any]:
        """Return the arguments as arrays of the library; numbers stay as they are."""
        arrays = []
        for a in arguments:
            if isinstance(a, float):
                arrays.append(a)
            elif a.dtype.kind == "f":
                arrays.append(self.library.array(a, self.precision.storage))
            else:
                arrays.append(self.library.labels(a))
        return arrays

    def _leave(self, value: float, shapes: list[tuple[int, ...]]) -> None:
        self.library.leave_in_memory(value, shapes, self.precision.output)

    def _call(self, given: list[Any], shapes: list[tuple[int, ...]]) -> list[Vector]:
        """Call the function, and return its results if they have the right form."""
        law, names = "results have the right form", self.operation.outputs
        try:
            with np.errstate(all="ignore"):
                returned = self.f(*given)
        except Exception as error:  # the function under test may fail in any way
            call = self.operation.signature
            message = f"f raised {type(error).__name__}: {error}. The call is {call}"
            raise Wrong("the function returns", message) from error
        results = list(returned) if isinstance(returned, tuple | list) else [returned]
        if len(results) != len(names):
            raise Wrong(law, f"f must return {', '.join(names)}, got {len(results)} results")
        for name, result, shape in zip(names, results, shapes, strict=True):
            if misfit := self.library.misfit(result, given[0], shape, self.precision.output):
                raise Wrong(law, f"{name} {misfit}")
        return [numbers_of(result) for result in results]

    def _errors(self, exact: Sequence[Double], arguments: Sequence[Any]) -> list[Vector]:
        """Bound the errors of the results."""
        with np.errstate(all="ignore"):
            errors = self.operation.error(self.arithmetic, exact, *arguments)
            if not self.operation.rounds and self.precision.output == self.precision.storage:
                return list(errors)
            return [
                self.arithmetic.result(one.high, error)
                for one, error in zip(exact, errors, strict=True)
            ]


def shapes_of(exact: Sequence[Double]) -> list[tuple[int, ...]]:
    """Return the shapes of results."""
    return [one.high.shape for one in exact]


def worst_share(
    got: Vector, exact: Double, error: Vector, output: Any
) -> tuple[float, tuple[int, ...]]:
    """Return the largest error as a share of its bound, and its index."""
    with np.errstate(all="ignore"):
        distance = np.abs((got - exact.high) - exact.low)
        share = np.where(distance == 0, 0.0, distance / error)
        share = np.where(np.isnan(share) | np.isnan(got), np.inf, share)
        # A result that may round to infinity may be infinite.
        overflows = np.abs(exact.high) + error >= output.overflow
        infinite = np.isinf(got) & (np.sign(got) == np.sign(exact.high))
        share = np.where(overflows & infinite, 0.0, share)
    index = np.unravel_index(int(np.argmax(share)), share.shape)
    return float(share[index]), tuple(map(int, index))


def same_bits(a: Vector, b: Vector) -> bool:
    """Tell whether two arrays hold the same numbers; a NaN equals another."""
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a), np.signbit(b))


def batches_of(n: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """Return parts and orders of a batch of n rows."""
    yield "with a batch of one", np.array([n // 2])
    yield "with half of the batch", np.arange((n + 1) // 2)
    yield "where the batch is reversed", np.arange(n)[::-1]
    yield "where the batch is padded", np.concatenate([np.arange(n), np.zeros(3, int)])
