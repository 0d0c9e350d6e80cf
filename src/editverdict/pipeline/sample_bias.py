"""What a claim's number on few samples differs by from that on more: the bias that its interval is hulled over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from editverdict.editors.base import State
from editverdict.inference.intervals import Estimate, t_interval
from editverdict.inference.rows import Interval
from editverdict.pipeline import wide_again, wide_angles
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.validity import Finding
from editverdict.pipeline.wide_angles import PER_DIMENSION, HasAngles, samples_suffice, wide_sample


@dataclass(frozen=True)
class SampleBias:
    """What a claim's number on the paired subset differs by from that on the larger sample."""

    bias: Interval | None
    """Subset minus larger sample, the ends of the interval over the units; None: the subset is large enough, or the
    bias is not known."""
    said: str
    keys: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    """About one of the states on the larger sample, made once more."""
    unknown: str | None = None
    """Why the bias is not known, which is not a bias of zero: then the number decides nothing."""

    def hulled(self, units: Sequence[float]) -> Estimate:
        """The mean over units with its t interval, hulled over the bias; without an interval where that is unknown."""
        found = t_interval(units, bias=self.bias)
        return found if self.unknown is None else found.left_open(self.unknown)


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
    count = min(trial.profile.sizes.angle_states, len(states))
    if samples_suffice(trial, model_id):
        return SampleBias(None, "")
    if wide_sample(trial, model_id) is None or count < 2:
        return _unknown(trial, model_id, f"{count} of its states" if count < 2 else None)
    wide = wide_angles.wide_angles(trial, model_id, states[:count], what)
    gaps = [statistic(one) - statistic(again) for one, again in zip(own, wide, strict=False)]
    return _known(trial, model_id, gaps, f"the first {count} states", wide, states[0], 0)


def chain_bias(
    trial: Trial,
    model_id: str,
    states: Mapping[int, Sequence[State]],
    own: Mapping[int, Sequence[HasAngles]],
    statistic: Callable[[HasAngles], float],
    what: str,
) -> SampleBias:
    """Bias of the mean over T of ``statistic``, off the first chains (the profile's ``angle_chains``), T as dealt.

    Parameters
    ----------
    trial, model_id
        Whose.
    states, own
        T -> the states of all chains, and their measurements on the paired subset.
    statistic
        One number per measured state.
    what
        For progress.
    """
    if samples_suffice(trial, model_id):
        return SampleBias(None, "")
    lengths = sorted(states)
    chosen = min(trial.profile.sizes.angle_chains, len(states[lengths[0]]))
    hands = dealt(lengths, chosen)
    if wide_sample(trial, model_id) is None or not hands:
        return _unknown(trial, model_id, None if hands else f"{chosen or 'none'} of its chains")
    places = [(t, i) for i, hand in enumerate(hands) for t in hand]
    wide = wide_angles.wide_angles(trial, model_id, [states[t][i] for t, i in places], what)
    again = dict(zip(places, wide, strict=True))
    gaps = [
        sum(weight * (statistic(own[t][i]) - statistic(again[t, i])) for t, weight in hand.items())
        for i, hand in enumerate(hands)
    ]
    # What is made once more is a state after the most edits: that of a single one stands for no chain.
    most = max(range(len(places)), key=lambda n: (places[n][0], -places[n][1]))
    t, i = places[most]
    said = f"the first {chosen} chains, T = {lengths[0]} in all of them and the others dealt in turn,"
    return _known(trial, model_id, gaps, said, wide, states[t][i], most)


def dealt(lengths: Sequence[int], chains: int) -> list[dict[int, float]]:
    """Which T each chain is measured again at -> its weight; nothing where chains are too few.

    The first T in all chains, because single edits are measured again anyway; the others dealt in turn. The mean over
    chains of the weighted sums is the mean over T of what chains have there on average, whatever that does with T.
    """
    first, *later = lengths
    if chains < max(2, len(later)):
        return []
    hands = [{first: 1.0 / len(lengths)} for _ in range(chains)]
    for place, t in enumerate(later):
        having = range(place, chains, len(later))
        for i in having:
            hands[i][t] = chains / len(having) / len(lengths)
    return hands


def _unknown(trial: Trial, model_id: str, too_few: str | None) -> SampleBias:
    few = trial.subset(model_id).n_samples / trial.model(model_id).sites.width
    base = trial.sample(model_id).n_samples / trial.model(model_id).sites.width
    why = (
        f"the base sample of profile '{trial.profile.id}' has no more than {base:.1f}"
        if too_few is None
        else f"profile '{trial.profile.id}' measures {too_few} again on so many"
    )
    text = f"its angles are on {few:.1f} samples per dimension where {PER_DIMENSION} are wanted, and {why}"
    return SampleBias(None, text, unknown=text)


def _known(
    trial: Trial,
    model_id: str,
    gaps: Sequence[float],
    which: str,
    wide: Sequence[wide_angles.WideAngles],
    looked_at: State,
    number: int,
) -> SampleBias:
    """The bias off ``gaps``, with the state ``looked_at`` (of ``wide[number]``) made once more."""
    sample = wide_sample(trial, model_id)
    interval = t_interval(gaps).interval
    if sample is None or interval is None:
        raise ValueError(f"a bias needs a larger sample and two units at least, found {len(gaps)}")
    width = trial.model(model_id).sites.width
    few, many = (size / width for size in (trial.subset(model_id).n_samples, sample.n_samples))
    said = (
        f"on {few:.1f} samples per dimension; {which} measured again on {many:.1f} differ by "
        f"{-sum(gaps) / len(gaps):+.3g} on average, and the interval is hulled over that"
    )
    findings = wide_again.found_again(trial, model_id, sample, looked_at, wide[number].angles)
    return SampleBias(interval, said, tuple(one.key for one in wide), tuple(findings))
