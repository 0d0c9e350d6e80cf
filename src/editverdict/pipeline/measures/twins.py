"""A model against random twins of its architecture on the same texts: the contrast, its bias and its error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from editverdict.inference.bias import bias_from_fractions
from editverdict.inference.intervals import Estimate, missing, t_interval
from editverdict.inference.rows import Interval
from editverdict.inference.standard_errors import Shared, shared_error
from editverdict.pipeline.measures.ranks import inner_rank
from editverdict.pipeline.randoms import FEW_SEEDS, MORE_SAMPLES_PER_DIMENSION, Side, random_twins
from editverdict.pipeline.trial import Trial

Rank = Callable[[Tensor], float]
TEXT_ERROR = (
    "the model and its twins are measured on the same texts: the interval holds the spread over twins and, as an error "
    "that all of them have in common, the model's own over blocks of texts; the twins' has not been measured, so it is "
    "taken as if they had none: too much where both sides move together with the texts"
)
ONE_BLOCK = "one block of texts: what other texts would give is not known"


@dataclass(frozen=True)
class Twins:
    """A model and its random twins on few texts, and some of them on more."""

    inner: tuple[int, ...]
    own: Side
    few: list[Side]
    more: Side
    more_twins: list[Side]

    @property
    def keys(self) -> list[str]:
        """Keys of all artifacts."""
        return [side.key for side in (self.own, *self.few, self.more, *self.more_twins)]

    def rank(self, side: Side, rank: Rank, *, half: bool = False) -> float:
        """r_eff / d of a side, median over the inner layers; ``half``: on the first half of its texts."""
        return inner_rank(self.inner, rank)(side.half if half else side.sigmas, side.n)

    def mean_contrast(self, side: Side, others: Sequence[Side], rank: Rank, *, half: bool = False) -> float:
        """The model minus the mean of some twins on the same texts."""
        mean = math.fsum(self.rank(one, rank, half=half) for one in others) / len(others)
        return self.rank(side, rank, half=half) - mean

    def readings(self, rank: Rank) -> tuple[float, float, float]:
        """The contrast on the few texts, on half of the more, and on the more, of the same few twins."""
        few = self.mean_contrast(self.own, self.few[: len(self.more_twins)], rank)
        half = self.mean_contrast(self.more, self.more_twins, rank, half=True)
        return few, half, self.mean_contrast(self.more, self.more_twins, rank)

    def bias(self, rank: Rank) -> Interval:
        """What the contrast on few texts loses up to the larger sample, and what it may lose beyond."""
        few, half, whole = self.readings(rank)
        lost = few - whole
        beyond = lost + bias_from_fractions(whole, half, few)
        return min(lost, beyond), max(lost, beyond)

    def text_error(self, rank: Rank) -> Shared | None:
        """The model's error over blocks of the few texts; None with fewer than two blocks."""
        left = [inner_rank(self.inner, rank)(sigmas, self.own.n) for sigmas in self.own.left]
        return shared_error(left) if len(left) > 1 else None


def twins_of(trial: Trial, model_id: str) -> Twins:
    """Measured, or from the store."""
    own, few = random_twins(trial, model_id)
    more, more_twins = random_twins(trial, model_id, MORE_SAMPLES_PER_DIMENSION, FEW_SEEDS)
    return Twins(trial.model(model_id).spec.layers.inner, own, few, more, more_twins)


def against_twins(twins: Twins, rank: Rank) -> Estimate:
    """r_eff / d of the model minus that of a random twin, one unit per twin.

    Hulled over the bias of so few texts; the model's error over blocks of texts is common to all units. No value where
    the texts are one block, or not the same on both sides.
    """
    sides = {(side.n, side.texts) for side in (twins.own, *twins.few)}
    if len(sides) > 1:
        return missing(note="the model and its twins are not of the same texts")
    error = twins.text_error(rank)
    if error is None:
        return missing(note=ONE_BLOCK)
    units = [twins.rank(twins.own, rank) - twins.rank(twin, rank) for twin in twins.few]
    return t_interval(units, bias=twins.bias(rank), shared=error)
