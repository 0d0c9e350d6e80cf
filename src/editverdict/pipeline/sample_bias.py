"""What a claim's number on few samples differs by from that on more: the bias that its interval is hulled over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from editverdict.editors.base import State
from editverdict.inference.intervals import t_interval
from editverdict.inference.rows import Interval
from editverdict.pipeline import wide_again, wide_angles
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.validity import Finding
from editverdict.pipeline.wide_angles import HasAngles


@dataclass(frozen=True)
class SampleBias:
    """What a claim's number on the paired subset differs by from that on the larger sample."""

    bias: Interval | None
    """Subset minus larger sample, the ends of the interval over the states; None: the subset is large enough."""
    said: str
    keys: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    """About the first state on the larger sample, made once more."""


def sample_bias(
    trial: Trial,
    model_id: str,
    states: Sequence[State],
    own: Sequence[HasAngles],
    statistic: Callable[[HasAngles], float],
    what: str,
) -> SampleBias:
    """Bias of ``statistic`` from the size of the paired subset, off the first states.

    Parameters
    ----------
    trial, model_id
        Whose.
    states, own
        A claim's states and their measurements on the paired subset.
    statistic
        One number per measured state.
    what
        For progress.
    """
    sample = wide_angles.wide_sample(trial, model_id)
    if sample is None:
        return SampleBias(None, "")
    wide = wide_angles.wide_angles(trial, model_id, states[: trial.profile.sizes.angle_states], what)
    gaps = [statistic(one) - statistic(again) for one, again in zip(own, wide, strict=False)]
    interval = t_interval(gaps).interval
    if interval is None:
        raise ValueError(f"the bias of a sample needs at least two states, found {len(gaps)}")
    few, many = (
        size / trial.model(model_id).sites.width for size in (trial.subset(model_id).n_samples, sample.n_samples)
    )
    said = (
        f"on {few:.1f} samples per dimension; the first {len(gaps)} states measured again on {many:.1f} differ by "
        f"{-sum(gaps) / len(gaps):+.3g} on average, and the interval is hulled over that"
    )
    findings = wide_again.found_again(trial, model_id, sample, states[0], wide[0].angles)
    return SampleBias(interval, said, tuple(one.key for one in wide), tuple(findings))
