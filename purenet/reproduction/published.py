"""The report: its network, its experiments and printed results, and what it leaves open."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from purenet import REPORT, Config, init
from purenet.params import Params

SIZES = (784, 200, 50, 10)
INIT_SCALE = 0.01


def initial_params(seed: int, dtype: str) -> Params:
    """Draw the report's network: Gaussian weights and zero biases, equal in all precisions."""
    return init(SIZES, seed=seed, scale=INIT_SCALE, dtype=np.dtype(dtype))


@dataclass(frozen=True)
class Experiment:
    """An experiment of the report, with its printed results."""

    number: int  # in section 6 of the report
    title: str
    config: Config  # an iteration of full batch is an epoch
    losses: Mapping[int, float]  # printed losses, by epoch from 0
    accuracy: float  # printed accuracy
    seconds: float  # printed training time

    @property
    def unit(self) -> str:
        """What the losses are counted in."""
        return "epoch" if self.config.batch_size else "iteration"


# fmt: off
EXPERIMENTS = (
    Experiment(
        number=1,
        title="mini-batches of 128, momentum 0.9",
        config=REPORT,
        losses=dict(enumerate((
            1.4276214578002793, 0.5259172895165155, 0.36351542857716335, 0.27740743314573074,
            0.22172597001242328, 0.17867987020599982, 0.14577622093647472, 0.12267011692052825,
            0.10811827737125904, 0.09916220425488319,
        ))),
        accuracy=0.9738,
        seconds=30.23827624320984,
    ),
    Experiment(
        number=2,
        title="mini-batches of 128, no momentum",
        config=replace(REPORT, momentum=0.0),
        losses=dict(enumerate((
            1.3497112182312538, 0.4955767061533177, 0.3449577985432909, 0.25958782518252926,
            0.20136653862171391, 0.16282271689218736, 0.1315512534422, 0.11072552968100371,
            0.1011973885741633, 0.08901558366546412,
        ))),
        accuracy=0.9773,
        seconds=23.819546937942505,
    ),
    Experiment(
        number=3,
        title="full batch of 60,000, no momentum",
        config=replace(REPORT, momentum=0.0, batch_size=None, epochs=500),
        losses={
            0: 2.3041838230971683,
            100: 0.31754088587910123,
            200: 0.20589015392018165,
            300: 0.16158948243621435,
            400: 0.13397630739828248,
        },
        accuracy=0.9641,
        seconds=505.10824942588806,
    ),
)
# fmt: on


@dataclass(frozen=True)
class Ambiguity:
    """A choice that the report leaves open."""

    question: str
    report: str  # what the report says about it
    choice: str  # the choice of the reproduction
    reason: str
    changes: Mapping[str, Any] = field(default_factory=dict)  # to the Config, for the other choice
    tried_on: tuple[int, ...] = ()  # numbers of the experiments that also run with `changes`


AMBIGUITIES = (
    Ambiguity(
        "Momentum of experiment 1",
        "0.9 in the heading of the experiment, 0.8 in the listing",
        "0.9",
        "The heading stands beside the printed results. Section 5 compares how well both fit.",
        {"momentum": 0.8},
        (1,),
    ),
    Ambiguity(
        "Order of the examples",
        "The listing does not shuffle.",
        "the order of the data set in every epoch",
        "The listing is followed.",
        {"shuffle": True},
        (1, 2),
    ),
    Ambiguity(
        "Scale of the pixels",
        "The listing converts pixels to float and does not divide them.",
        "raw pixels, 0 to 255",
        "The listing is followed. The table below has the losses of both choices.",
        {"input_scale": 1 / 255},
        (1,),
    ),
    Ambiguity(
        "Size of the training set",
        "The listing cuts it to num images and does not give num.",
        "all 60,000 images",
        "The text names 60,000 images. Section 5 asks which num explains the printed losses.",
    ),
    Ambiguity(
        "Images of the “Training accuracy”",
        "The report prints “Training accuracy” and “Testing time” one after the other.",
        "The page shows both accuracies; accuracy means that on the 10,000 test images unless the "
        "page says otherwise.",
        "The three printed accuracies have four decimals, but the losses have sixteen digits. The "
        "accuracies were counted on 10,000 images (or on a divisor of 10,000 that can give "
        "them).",
    ),
    Ambiguity(
        "Penalty in the printed loss",
        "The listing adds the penalty to the total.",
        "with the penalty",
        "The listing is followed. The page shows the difference for experiment 3.",
    ),
    Ambiguity(
        "The “total average loss” of an epoch",
        "The listing sums the losses of the batches, each before its update. The divisor of the "
        "sum is not shown.",
        "the mean; the smaller last batch (60,000 = 468 × 128 + 96) is weighted by its size",
        "That is an average. Section 5 tries another divisor.",
    ),
)
