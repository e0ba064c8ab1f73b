"""The report's three experiments as data, what it leaves open, and how much of all this is run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from purenet import REPORT, Config, init
from purenet.params import Params

__all__ = [
    "AMBIGUITIES",
    "EXPERIMENTS",
    "FULL",
    "INIT_SCALE",
    "QUICK",
    "SIZES",
    "Ambiguity",
    "Experiment",
    "Plan",
    "network",
]

SIZES = (784, 200, 50, 10)
INIT_SCALE = 0.01


@dataclass(frozen=True)
class Experiment:
    """Hold one experiment: what is run, and what the report prints.

    Parameters
    ----------
    number : int
        Its number in section 6 of the report.
    title : str
        What sets it apart.
    config : Config
        Hyperparameters; an iteration of full batch is an epoch.
    losses : mapping of int to float
        Printed losses by epoch or iteration, counted from 0.
    accuracy : float
        Printed accuracy.
    seconds : float
        Printed training time.
    """

    number: int
    title: str
    config: Config
    losses: Mapping[int, float]
    accuracy: float
    seconds: float

    @property
    def unit(self) -> str:
        """Return what the losses are counted in."""
        return "epoch" if self.config.batch_size else "iteration"


EXPERIMENTS = (
    Experiment(
        1,
        "mini-batches of 128, momentum 0.9",
        REPORT,
        dict(
            enumerate(
                (
                    1.4276214578002793,
                    0.5259172895165155,
                    0.36351542857716335,
                    0.27740743314573074,
                    0.22172597001242328,
                    0.17867987020599982,
                    0.14577622093647472,
                    0.12267011692052825,
                    0.10811827737125904,
                    0.09916220425488319,
                )
            )
        ),
        0.9738,
        30.23827624320984,
    ),
    Experiment(
        2,
        "mini-batches of 128, no momentum",
        replace(REPORT, momentum=0.0),
        dict(
            enumerate(
                (
                    1.3497112182312538,
                    0.4955767061533177,
                    0.3449577985432909,
                    0.25958782518252926,
                    0.20136653862171391,
                    0.16282271689218736,
                    0.1315512534422,
                    0.11072552968100371,
                    0.1011973885741633,
                    0.08901558366546412,
                )
            )
        ),
        0.9773,
        23.819546937942505,
    ),
    Experiment(
        3,
        "full batch of 60,000, no momentum",
        replace(REPORT, momentum=0.0, batch_size=None, epochs=500),
        {
            0: 2.3041838230971683,
            100: 0.31754088587910123,
            200: 0.20589015392018165,
            300: 0.16158948243621435,
            400: 0.13397630739828248,
        },
        0.9641,
        505.10824942588806,
    ),
)


@dataclass(frozen=True)
class Ambiguity:
    """Hold something that the report leaves open.

    Parameters
    ----------
    question : str
        What is open.
    report : str
        What the report says.
    choice : str
        What is done here.
    reason : str
        Why.
    changes : mapping
        Fields of `Config` that make the other choice, to be tried; none if it takes no run.
    tried_on : tuple of int
        Numbers of the experiments on which it is tried.
    """

    question: str
    report: str
    choice: str
    reason: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    tried_on: tuple[int, ...] = ()


AMBIGUITIES = (
    Ambiguity(
        "Momentum of experiment 1",
        "0.9 in the heading of the experiment, 0.8 in the listing",
        "0.9",
        "The heading stands with the figures. Section 5 says which fits them better.",
        {"momentum": 0.8},
        (1,),
    ),
    Ambiguity(
        "Order of examples",
        "no shuffling is shown",
        "as they lie in the data set, every epoch",
        "What is not shown is not done.",
        {"shuffle": True},
        (1, 2),
    ),
    Ambiguity(
        "Scale of pixels",
        "converted to float; no division is shown",
        "raw, 0 to 255",
        "As shown, and decided by the losses: divided by 255, the network hardly starts to learn.",
        {"input_scale": 1 / 255},
        (1,),
    ),
    Ambiguity(
        "Size of the training set",
        "cut to num images; num is not given",
        "all 60,000",
        "The text speaks of 60,000. Section 5 asks which num explains the printed losses.",
    ),
    Ambiguity(
        "What “Training accuracy” was taken on",
        "“Training accuracy” and “Testing time”, one after the other",
        "both are shown; accuracy means the 10,000 test images unless said otherwise",
        "The three printed accuracies are whole ten-thousandths, although losses have all their "
        "digits: they were counted on 10,000 images (or a divisor of 10,000 that can give them).",
    ),
    Ambiguity(
        "Whether the printed loss has the penalty",
        "the listing adds it to the total",
        "with the penalty",
        "As listed. The difference is shown for experiment 3.",
    ),
    Ambiguity(
        "What the “total average loss” of an epoch is",
        "batches' losses before their updates, summed; what the sum is divided by is not shown",
        "their mean, the smaller last batch (60,000 = 468 × 128 + 96) by its size",
        "That is an average. Section 5 tries another divisor.",
    ),
)


@dataclass(frozen=True)
class Plan:
    """Hold how much is run; the defaults are the full reproduction.

    Parameters
    ----------
    seeds : int
        Runs of everything that is compared, with seeds 0, 1, ...
    mini_seeds : int
        Runs of experiments 1 and 2 as listed, which are short and whose ends differ most.
    dtype : str
        Precision of training, float32 or float64.
    iterations : int
        Of experiment 3.
    race_epochs, race_iterations : int
        How long the plain algorithm runs side by side with purenet.
    initial_seeds : int
        Networks whose loss is taken before training.
    variant_epochs : int
        Epochs of the other choices of `AMBIGUITIES`.
    nums, rates : tuple
        Grid of the subset hypothesis: training images and learning rates.
    batch_sizes, batch_rates : tuple
        Batch sizes compared (None is full), and the learning rates each may choose from.
    batch_epochs, least_updates, most_updates : int
        Length of such a run: epochs, but within these numbers of updates.
    momenta, momentum_rates : tuple
        The β compared, and the learning rates each may choose from.
    momentum_epochs : int
        Epochs of such a run.
    noise_draws : int
        Examples drawn for each batch size of the gradient noise.
    quick : bool
        Whether this is the short form.
    """

    seeds: int = 3
    mini_seeds: int = 10
    dtype: str = "float32"
    iterations: int = 500
    race_epochs: int = 10
    race_iterations: int = 5
    initial_seeds: int = 20
    variant_epochs: int = 10
    nums: tuple[int, ...] = (2_500, 5_000, 7_500, 10_000, 15_000, 20_000, 60_000)
    rates: tuple[float, ...] = (0.002, 0.003, 0.004, 0.005, 0.007, 0.01, 0.02)
    batch_sizes: tuple[int | None, ...] = (1, 8, 32, 128, 512, 2048, 8192, None)
    batch_rates: tuple[float, ...] = (0.0003, 0.001, 0.003, 0.01, 0.03)
    batch_epochs: int = 10
    least_updates: int = 100
    most_updates: int = 20_000
    momenta: tuple[float, ...] = (0.0, 0.5, 0.8, 0.9, 0.99)
    momentum_rates: tuple[float, ...] = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
    momentum_epochs: int = 10
    noise_draws: int = 2**18
    quick: bool = False


FULL = Plan()
QUICK = Plan(
    seeds=1,
    mini_seeds=1,
    iterations=26,
    race_epochs=1,
    race_iterations=1,
    initial_seeds=3,
    variant_epochs=1,
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


def network(seed: int, dtype: str) -> Params:
    """Draw the report's network.

    Parameters
    ----------
    seed : int
        Of the weights.
    dtype : str
        Precision; the weights of a seed are the same but for rounding.

    Returns
    -------
    dict of numpy.ndarray
        784-200-50-10, weights of standard deviation 0.01, biases 0.
    """
    return init(SIZES, seed=seed, scale=INIT_SCALE, dtype=np.dtype(dtype))


def settings(config: Config, **changes: Any) -> dict[str, Any]:
    """Return a configuration as JSON has it, with changes."""
    return asdict(replace(config, **changes))
