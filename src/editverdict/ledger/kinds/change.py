"""Changes of hidden states beside their spectrum: how large they are, and how much of them points where.

With ``n`` samples and singular values ``sigma_k`` a direction has the scale ``sigma_k / sqrt(n)``, and
``R_k = sqrt(n) |c_k| / sigma_k`` compares the component ``c_k`` of a change with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.joins import partner, rows, with_partner
from editverdict.ledger.ranges import Range
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.tables import Cell, Line


class ScaleSettings(Settings):
    """The norm of a change beside the scale of the leading direction."""

    norm: str
    top: str
    on: tuple[str, ...]
    samples: float
    small: float
    """Up to this share of the leading direction's scale a change is small."""
    large: float = 1.0
    """From here on it is not; between the two the paper gives no scale."""


@kind("relative-to-leading", ScaleSettings)
def relative_to_leading(scope: Scope) -> Iterator[Finding]:
    """The mean norm of a change over ``sigma_1 / sqrt(n)``."""
    own: ScaleSettings = scope.settings
    for line, cells in with_partner(scope, (own.norm,), own.on, (own.top,)):
        share = cells[0].range / (cells[1].range / math.sqrt(own.samples))
        verdict: Verdict = "undefined"
        if share.low <= own.small:
            verdict = "consistent"
        elif share.high >= own.large:
            verdict = scope.rule.broken
        expected = f"at most {own.small:g} of {own.top}/sqrt(n)"
        yield scope.finding(verdict, cells, expected=expected, found=f"{share} of it", row=line.label)


class LeastSettings(Settings):
    """Columns of norms, of how many directions change by more than their scale, and of the spectrum."""

    mean: str
    std: str
    on: tuple[str, ...]
    """Keys of the row with the count."""
    above: str
    """Directions with ``R_k > 1``."""
    spectrum_on: tuple[str, ...]
    top: str
    size_on: tuple[str, ...]
    size: str
    samples: float
    most_below: int
    """Only rows with at most so many directions that do not change by more than their scale."""
    small: float


def _mostly_above(scope: Scope, own: LeastSettings) -> Iterator[tuple[Line, list[Cell], float]]:
    """Row, cells (mean, std, count, largest singular value, dimension), and directions that are not above 1."""
    for line, norm in rows(scope, own.mean, own.std):
        count = partner(scope, line, own.on, own.above)
        top = partner(scope, line, own.spectrum_on, own.top)
        size = partner(scope, line, own.size_on, own.size)
        if count is None or top is None or size is None:
            continue
        below = size[0].value - count[0].value
        if 0 <= below <= own.most_below:
            yield line, [*norm, *count, *top, *size], below


@kind("least-relative-change", LeastSettings)
def least_relative_change(scope: Scope) -> Iterator[Finding]:
    """How large a change is at least, beside the states that it changes.

    ``R_k > 1`` in all but j directions says ``E c_k^2 >= sigma_k^2 / n`` there (a mean of squares is no less than the
    square of a mean), and the other j have at most ``sigma_1^2 / n`` each. So the states' mean square is at most
    ``E|dh|^2 + j sigma_1^2 / n``, and the root mean square of the change at least
    ``1 / sqrt(1 + j (sigma_1^2 / n) / E|dh|^2)`` times theirs. (Not so if ``R_k`` were a maximum over samples.)
    """
    own: LeastSettings = scope.settings
    for line, cells, below in _mostly_above(scope, own):
        mean, std, count, top, size = cells
        square = mean.range.low**2 + std.range.low**2
        leading = top.range.high**2 / own.samples
        least = 1.0 / math.sqrt(1.0 + below * leading / square) if square > 0 else 0.0
        verdict: Verdict = scope.rule.broken if least > own.small else "consistent"
        yield scope.finding(
            verdict,
            cells,
            expected=f"at most {own.small:g} of the states' own size",
            found=f"at least {least:.2f} of it, by {own.above} {count.text} of {size.text}",
            row=line.label,
        )


class RankSettings(LeastSettings):
    """The same, and the column of the effective rank."""

    rank: str


def entropy_at_most(share: float, d: float) -> float:
    """Exp of the entropy of d shares of which one is at least ``share``: the others are equal at best."""
    if share <= 1.0 / d:
        return d
    rest = 1.0 - share
    entropy = -share * math.log(share) - (rest * math.log(rest / (d - 1.0)) if rest > 0 else 0.0)
    return math.exp(entropy)


@kind("effective-rank-of-energies", RankSettings)
def effective_rank_of_energies(scope: Scope) -> Iterator[Finding]:
    """Whether a printed effective rank can be one of the energies ``sigma_k^2``.

    By the bound of :func:`least_relative_change`, ``sum sigma_k^2 / sigma_1^2 <= n E|dh|^2 / sigma_1^2 + j``: the
    leading direction has a least share of the energy, which bounds the exponential of the entropy of the shares; their
    participation ratio is no larger than that.
    """
    own: RankSettings = scope.settings
    for line, cells, below in _mostly_above(scope, own):
        mean, std, _, top, size = cells
        rank = partner(scope, line, own.spectrum_on, own.rank)
        if rank is None:
            continue
        square = mean.range.high**2 + std.range.high**2
        energy = square * own.samples / top.range.low**2 + below
        most = entropy_at_most(min(1.0 / energy, 1.0), size.value)
        verdict: Verdict = scope.rule.broken if rank[0].range.low > most else "consistent"
        yield scope.finding(
            verdict,
            [*cells, *rank],
            expected=f"at most {most:.0f}, if it is one of sigma^2",
            found=f"{rank[0].text}, with at least {100 / energy:.0f} % of the energy in one direction",
            row=line.label,
        )


class ComponentSettings(Settings):
    """The largest ratio, the norm of the change, and the smallest singular value: what the component must be."""

    ratio: str
    """Largest ``R_k``."""
    mean: str
    std: str
    on: tuple[str, ...]
    """Keys of the row with the norm."""
    bottom: str
    bottom_on: tuple[str, ...]
    size: str
    samples: float


def _component(scope: Scope, own: ComponentSettings) -> Iterator[tuple[str, list[Cell], Range]]:
    """Label, cells (ratio, mean, std, smallest singular value, dimension) and ``R_max sigma_min / sqrt(n)``."""
    for line, cells in rows(scope, own.ratio):
        norm = partner(scope, line, own.on, own.mean, own.std)
        bottom = partner(scope, line, own.bottom_on, own.bottom, own.size)
        if norm is not None and bottom is not None:
            found = [*cells, *norm, *bottom]
            yield line.label, found, cells[0].range * bottom[0].range / math.sqrt(own.samples)


@kind("component-within-norm", ComponentSettings)
def component_within_norm(scope: Scope) -> Iterator[Finding]:
    """Cauchy and Schwarz: no component of a change is larger than the change.

    Every ``sigma_k`` is at least ``sigma_min``, so the component that belongs to the largest ``R_k`` is at least
    ``R_max sigma_min / sqrt(n)``; the root mean square of the norm is at least the mean of any component.
    """
    own: ComponentSettings = scope.settings
    for label, cells, component in _component(scope, own):
        most = math.hypot(cells[1].range.high, cells[2].range.high)
        verdict: Verdict = scope.rule.broken if component.low > most else "consistent"
        yield scope.finding(verdict, cells, expected=f"at most {most:.3g}", found=str(component), row=label)


class IsotropicSettings(ComponentSettings):
    """What share of the norm the component has, beside that of a direction that is nothing special."""

    alike: tuple[float, float]
    """Between these multiples of ``norm / sqrt(d)`` the component is what any direction would get: sqrt(2/pi) = 0.80 on
    average if the change is Gaussian and isotropic."""
    foreign: float
    """Beyond this multiple one decomposition is a poor explanation of the two numbers."""
    foreign_verdict: Verdict = "implausible"
    """A direction may have more than its share, so that it is no contradiction."""
    foreign_why: str = ""


@kind("isotropic-share", IsotropicSettings)
def isotropic_share(scope: Scope) -> Iterator[Finding]:
    """The component along the smallest direction beside the share of the change that any direction would get."""
    own: IsotropicSettings = scope.settings
    for label, cells, component in _component(scope, own):
        share = component / (cells[1].range / math.sqrt(cells[4].value))
        verdict: Verdict = "consistent"
        sentence = ""
        if share.low > own.foreign:
            verdict, sentence = own.foreign_verdict, own.foreign_why
        elif share.meets(Range(*own.alike)):
            verdict = scope.rule.broken
        expected = f"outside {own.alike[0]:g} to {own.alike[1]:g}, and below {own.foreign:g}"
        found = f"{share} times the isotropic share"
        yield scope.finding(verdict, cells, expected=expected, found=found, row=label, sentence=sentence)
