"""Rates of chains along T beside those of single edits, and planted chains: what claims on accumulation share."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from editverdict.geometry.accumulation import Rates, planted_rates
from editverdict.geometry.amplification import Amplification
from editverdict.inference.intervals import Estimate, missing
from editverdict.inference.two_samples import NOBODY, two_sample_interval, without_each
from editverdict.pipeline import base
from editverdict.pipeline.changes import Change, Reach, changes
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.measures.along import Along
from editverdict.pipeline.measures.amplification import amplified
from editverdict.pipeline.measures.perturbation import reach, single_states
from editverdict.pipeline.trial import Trial

Rate = Callable[[Amplification], float]
STILL = "too few chains or edits change anything: their mean has no logarithm, or none without one of them"
PLANTED_PER_SEED = 20
"""Planted chains per seed. A rank-one edit moves u_min by chance, so that a mean over twenty is no control at all."""
PLANTED_SINGLES = 400
PLANTED_TOKENS = 64
_SINGLE_SEEDS = 1_000_000


def r_min(found: Amplification) -> float:
    """R_k at the smallest identified direction."""
    return found.r_min


def median_r(found: Amplification) -> float:
    """Median R_k over the identified directions."""
    return found.median


def chain_rates(trial: Trial, case: Case, measured: Along, at: Reach, rate: Rate, pooling: str = "mean_abs") -> Rates:
    """``[chains, T, layers]``: one rate per chain, T and layer."""
    found = [
        [[rate(amplified(trial, case.model, change, n, pooling)) for n in at.layers] for change in many]
        for many in measured.values()
    ]
    return np.array(found, dtype=np.float64).swapaxes(0, 1)


def single_changes(trial: Trial, case: Case, method: str) -> list[Change]:
    """What each of the profile's single edits does: a claim that reads rates off them hands them to its checks, too."""
    return changes(trial, case.model, single_states(trial, case, method), what=f"{method} edits")


def single_rates(
    trial: Trial, case: Case, singly: Sequence[Change], at: Reach, rate: Rate, pooling: str = "mean_abs"
) -> Rates:
    """``[edits, layers]``: one rate per single edit and layer."""
    one = [[rate(amplified(trial, case.model, change, n, pooling)) for n in at.layers] for change in singly]
    return np.array(one, dtype=np.float64)


@dataclass(frozen=True)
class Grown:
    """Rates of chains along T, and of single edits."""

    chains: Rates
    """``[chains, T, layers]``."""
    singles: Rates
    """``[edits, layers]``."""
    owner: tuple[int, ...]
    """Which of the chains each single edit belongs to."""

    def read(self, statistic: Callable[[Rates, Rates], float]) -> Estimate:
        """A statistic of mean rates with its interval: jackknife over chains, each with its own single edits.

        An edit that changes nothing, or a chain that ends where it began, is a zero in a mean, and the average edit of
        Eq. 16 is made of such edits, too. Where hardly any other is left there is no estimate.
        """
        left = itertools.chain([(self.chains, self.singles)], *without_each(self.chains, self.singles, self.owner))
        moved = [one for pair in left for one in pair if len(one)]
        if not all(bool((one.mean(axis=0) > 0.0).all()) for one in moved):
            return missing(note=STILL)
        return two_sample_interval(statistic, self.chains, self.singles, self.owner)

    def squared(self) -> Grown:
        """The same of squared rates."""
        return replace(self, chains=self.chains**2, singles=self.singles**2)

    def unmoved(self) -> dict[str, list[int]]:
        """Numbers of edits and chains that change nothing, for a measurement's description; empty without any."""
        found = {"edits_that_change_nothing": still(self.singles), "chains_that_change_nothing": still(self.chains)}
        return {name: numbers for name, numbers in found.items() if numbers}


def still(sample: Rates) -> list[int]:
    """Numbers of the units (edits, or chains at some T) that do not move some layer at all."""
    resting: list[int] = np.flatnonzero((sample.reshape(len(sample), -1) == 0.0).any(axis=1)).tolist()
    return resting


def grown(
    trial: Trial,
    case: Case,
    measured: Along,
    singly: Sequence[Change],
    at: Reach,
    rate: Rate,
    pooling: str = "mean_abs",
) -> Grown:
    """Rates of a method's chains and of the profile's single edits (:func:`single_changes`).

    Single edits are the first ones of the chains, dealt in turn, so that the two samples are not independent: a chain
    is left out together with them.
    """
    longest, dataset = max(measured), str(case.dataset)
    chains = [chain for chain in trial.chains(dataset) if len(chain) >= longest]
    owner = {record.id: number for number, chain in enumerate(chains) for record in chain}
    return Grown(
        chain_rates(trial, case, measured, at, rate, pooling),
        single_rates(trial, case, singly, at, rate, pooling),
        tuple(owner.get(record.id, NOBODY) for record in trial.singles(dataset)),
    )


def planted_growth(trial: Trial, case: Case, lengths: Sequence[int], *, coherent: bool, spread: float = 0.0) -> Grown:
    """R_min of planted chains of rank-one edits, and of single ones of their kind that belong to none of them.

    On the spectrum of the edited layer.
    """
    spectrum = base.spectra(trial, case.model)[reach(trial, case).edited].spectrum
    draw = functools.partial(planted_rates, spectrum, coherent=coherent, spread=spread, rank_one=True, m=PLANTED_TOKENS)
    seeds = range(PLANTED_PER_SEED * trial.profile.sizes.random_seeds)
    drawn = (draw(lengths, seed=s) for s in seeds)
    chains = [[[found[t].r_min] for t in lengths] for found in drawn]
    singles = [[draw([1], seed=_SINGLE_SEEDS + s)[1].r_min] for s in range(PLANTED_SINGLES)]
    return Grown(np.array(chains, dtype=np.float64), np.array(singles, dtype=np.float64), (NOBODY,) * PLANTED_SINGLES)
