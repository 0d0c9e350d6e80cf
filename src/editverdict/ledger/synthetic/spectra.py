"""Tables 1, 5-12 and 21-24: a spectrum per place, a small paired change per method and place, and what follows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from editverdict.ledger.synthetic.draft import SAMPLES, Draft, scientific
from editverdict.ledger.tables import Line

Array = NDArray[np.float64]
SPECTRA = (5, 6, 7, 8)
NORMS = (9, 10, 11, 12)
RATIOS = (21, 22, 23, 24)
"""Tables of norms, and of R_k, of the models of :data:`SPECTRA`."""
REST = {"AlphaEdit": 0.005, "MEMIT": 0.012, "MEND": 0.024, "ROME": 0.018, "WISE": 0.028}
"""R_k in the middle of the spectrum."""
DIMENSIONS = 4096
"""Of hidden states without a printed spectrum."""
CONDITION = {
    **dict.fromkeys((5, 6, 7), (math.log(20.0), math.log(82.0))),
    8: (math.log(300.0), math.log(900.0)),
}
"""Logarithm of the condition number. Tables 5 to 7: below 1/(n eps), so that single precision resolves all values."""
_NORM_SAMPLES = 4000


@dataclass(frozen=True)
class Spectrum:
    """Hidden states at one place."""

    sigma: Array
    """Singular values of n x d states, d of them, falling."""

    @property
    def rank(self) -> float:
        """Effective rank: exp of the entropy of the normalised singular values."""
        share = self.sigma / self.sigma.sum()
        return float(np.exp(-(share * np.log(share)).sum()))


def spectrum(d: int, top: float, bottom: float, sharpness: float) -> Spectrum:
    """A power law that bends down to its smallest value; the larger the sharpness, the later it bends."""
    k = np.arange(1, d + 1) / d
    slope = -0.2 * np.log(k * d)
    fall = np.log(bottom / top) - slope[-1]
    bend = (k**sharpness - k[0] ** sharpness) / (1.0 - k[0] ** sharpness)
    return Spectrum(top * np.exp(slope + fall * bend))


class Places:
    """Spectra by table and place, drawn once; a place without a printed spectrum has that of the last one before."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._known: dict[int, list[tuple[str, Spectrum]]] = {}
        for table in SPECTRA:
            lines = draft.lines(table)
            self._known[table] = [
                (_place(line), self._drawn(int(line.cells["d"].text), at / max(len(lines) - 1, 1), table))
                for at, line in enumerate(lines)
            ]

    def _drawn(self, d: int, depth: float, table: int) -> Spectrum:
        """Deeper places fall earlier, and their leading values are larger; the smallest goes its own way."""
        chance = self._draft.chance
        top = (1.2 + 0.2 * depth) * chance.uniform(0.95, 1.05)
        return spectrum(d, top, top / float(np.exp(chance.uniform(*CONDITION[table]))), 6.0 - 4.0 * depth)

    def at(self, table: int, place: str) -> Spectrum:
        """Spectrum at a layer or module."""
        known = self._known[table]
        if not known:
            known.append((place, self._drawn(DIMENSIONS, 0.0, table)))
        if not place.isdigit():
            return dict(known).get(place, known[0][1])
        before = [found for name, found in known if int(name) <= int(place)]
        return before[-1] if before else known[0][1]

    def printed(self, table: int) -> list[Spectrum]:
        """Spectra in the order of the rows."""
        return [found for _, found in self._known[table]]


def _place(line: Line) -> str:
    return line.keys.get("layer") or line.keys["module"]


def write(draft: Draft) -> None:
    """Spectra, then norms of changes and R_k from the same changes."""
    places = Places(draft)
    for table in SPECTRA:
        for line, found in zip(draft.lines(table), places.printed(table), strict=True):
            _write_spectrum(draft, line, found, digits=1)
    for line in draft.lines(1):
        _write_spectrum(draft, line, places.at(5, _place(line)), digits=2)
    known: dict[tuple[int, str, str], Array] = {}
    for spectra, norms, ratios in zip(SPECTRA, NORMS, RATIOS, strict=True):
        for line in [*draft.lines(ratios), *draft.lines(norms)]:
            found = places.at(spectra, _place(line))
            along = known.setdefault((spectra, *_key(line)), _change(draft, line, found))
            if "r_mean" in line.cells:
                _write_ratios(draft, line, along * math.sqrt(SAMPLES) / found.sigma)
            else:
                _write_norms(draft, line, along)


def _write_spectrum(draft: Draft, line: Line, found: Spectrum, digits: int) -> None:
    d = len(found.sigma)
    top, bottom = float(found.sigma[0]), float(found.sigma[-1])
    draft.put(line, "r_eff", f"{found.rank:.0f}")
    draft.put_fixed(line, "r_over_d_pct", 100.0 * found.rank / d)
    draft.put(line, "sigma_1", scientific(top, digits))
    draft.put(line, "sigma_min", scientific(bottom, digits))
    draft.put(line, "cond", scientific(top / bottom, digits))


def _key(line: Line) -> tuple[str, str]:
    return line.keys["method"], _place(line)


def _change(draft: Draft, line: Line, found: Spectrum) -> Array:
    """Mean size of a change along every direction: a small part of what is native there, but for a few in modules.

    The part falls as sigma_k to the power 0.75, so that R_k rises along the spectrum; it grows slowly with depth.
    """
    method, place = _key(line)
    chance, sigma, d = draft.chance, found.sigma, len(found.sigma)
    growth = 1.0 + (0.01 * int(place) if place.isdigit() else 0.0)
    ratios = REST[method] * growth * (sigma / np.median(sigma)) ** -0.25 * chance.lognormal(0.0, 0.2, d)
    if not place.isdigit():
        few = chance.choice(np.arange(d - d // 20, d - 1), int(chance.integers(3, 12)), replace=False)
        ratios[few] = chance.uniform(1.05, 1.45, few.size)
    return ratios * sigma / math.sqrt(SAMPLES)


def _write_norms(draft: Draft, line: Line, along: Array) -> None:
    """Of Gaussian components, the mean size of which is sqrt(2/pi) times the root mean square."""
    size = math.sqrt(math.pi / 2.0 * float((along**2).sum()))
    norms = size * draft.chance.lognormal(0.0, 0.3, _NORM_SAMPLES)
    statistics = {"mean": norms.mean(), "std": norms.std(), "min": norms.min(), "max": norms.max()}
    for column, value in statistics.items():
        draft.put(line, column, scientific(float(value), 2))


def _write_ratios(draft: Draft, line: Line, ratios: Array) -> None:
    statistics = {"r_mean": ratios.mean(), "r_min": ratios.min(), "r_max": ratios.max(), "r_std": ratios.std()}
    for column, value in statistics.items():
        draft.put(line, column, scientific(float(value), 2))
    above = int((ratios > 1.0).sum())
    draft.put(line, "num_gt1", str(above))
    draft.put_fixed(line, "pct_gt1", 100.0 * above / len(ratios))
