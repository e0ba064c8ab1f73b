"""How much a reproduction runs: the full form and the quick one."""

from dataclasses import dataclass

__all__ = ["FULL", "QUICK"]


@dataclass(frozen=True)
class Plan:
    """How much is run. The defaults are the full form."""

    dtype: str = "float32"  # precision of training: float32 or float64
    seeds: int = 3  # of experiment 3 and of each momentum: 0, 1, ...
    mini_seeds: int = 10  # of experiments 1 and 2, and of what is compared with them
    iterations: int = 500  # of experiment 3
    race_epochs: int = 10  # of experiments 1 and 2, in the race against the plain algorithm
    race_iterations: int = 5  # of experiment 3
    # Explanation by a subset: a grid of numbers of training images and learning rates
    nums: tuple[int, ...] = (2_500, 5_000, 7_500, 10_000, 15_000, 20_000, 60_000)
    rates: tuple[float, ...] = (0.002, 0.003, 0.004, 0.005, 0.007, 0.01, 0.02)
    # Comparison of batch sizes, of which None is full batch, in epochs within limits of updates
    batch_sizes: tuple[int | None, ...] = (1, 8, 32, 128, 512, 2048, 8192, None)
    batch_rates: tuple[float, ...] = (0.0003, 0.001, 0.003, 0.01, 0.03)
    batch_epochs: int = 10
    least_updates: int = 100
    most_updates: int = 20_000
    # Comparison of momenta
    momenta: tuple[float, ...] = (0.0, 0.5, 0.8, 0.9, 0.99)
    momentum_rates: tuple[float, ...] = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
    momentum_epochs: int = 10
    noise_draws: int = 2**18  # images drawn for each batch size of the gradient noise
    quick: bool = False


FULL = Plan()
QUICK = Plan(
    seeds=1,
    mini_seeds=1,
    iterations=26,
    race_epochs=1,
    race_iterations=1,
    nums=(5_000, 10_000),
    rates=(0.01,),
    batch_sizes=(8, 128, 2048),
    batch_rates=(0.003, 0.01),
    batch_epochs=1,
    least_updates=10,
    most_updates=2_000,
    momenta=(0.0, 0.9),
    momentum_rates=(0.01,),
    momentum_epochs=2,
    noise_draws=2**15,
    quick=True,
)
