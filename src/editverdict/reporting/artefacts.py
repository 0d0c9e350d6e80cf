"""The page of null models: printed rows beside what mis-pairing and a wrong mean give by themselves."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from editverdict.ledger.rates import PrintedRate, grouped, leading_direction, middle_of_rest

HEAD = (
    "what",
    "n",
    "d",
    "R_k > 1",
    "smallest R_k",
    "mean without the largest",
    "largest R_k",
    "cond",
    "sigma_min / (sigma_1 eps)",
    "c_min / isotropic share",
    "mean norm of dh / RMS along u_1",
    "r_eff / d",
    "Spearman(R_k, k)",
)
WORDS = {
    ("mispaired", "features"): "no pairs, centred over features",
    ("paired", "features"): "pairs, centred over features",
    ("mispaired", "samples"): "no pairs, centred over samples",
    ("paired", "samples"): "pairs, centred over samples",
    ("mispaired", "none"): "no pairs, not centred",
    ("paired", "none"): "pairs, not centred",
}

INTRO = """\
Two mistakes are tried on purpose: hidden states "before" and "after" an edit that come from different texts, and a mean
that is taken over the features of each sample in place of over the samples of each feature. Everything is computed in
float32 unless said otherwise, with the mean of |c_k| over samples in R_k = sqrt(n) |c_k| / sigma_k. That such a null
model gives a printed pattern is enough to explain it, and no proof that it arose so: the code that made the tables can
decide, and other explanations stay open (a decomposition in another precision, a direction that is dead in the model,
texts drawn anew in every run)."""

FORMS = """\
## What the null models must give

- **No pairs.** For independent x and y of one law, RMS R_k is sqrt(2) = 1.414 in every direction, and mean R_k is
  2/sqrt(pi) = 1.128 if the law is Gaussian. A direction that a share p of the samples carries alone has
  2 sqrt(p (1 - p)) instead; a common offset of m standard deviations that centring left in has
  1.128 / sqrt(1 + m^2). Either leaves d - 1 directions above 1. That R_k rises with k is no sign of an edit by
  itself: rates in directions that are fitted to a finite sample do that.
- **Centring over features.** All samples become orthogonal to (1, ..., 1): one singular value is exactly zero, what is
  printed for it is rounding, of the order of sigma_1 eps, and R_k along it is of the order 1/eps, whatever the edit.
  The change along it is an ordinary one: sqrt(2/pi) = 0.798 of the isotropic share.
- **Neither.** With pairs, and the mean taken over samples, there is no such direction, and R_k stays below 1 in all of
  them, or all but a few, for an edit that moves the states by a few hundredths.

Derivations: `editverdict.numerics.artefacts`; tests against them, with tolerances that follow from n:
`suites/selftest/numerics/test_artefacts.py`."""


def artefacts_markdown(
    manifest: Mapping[str, Any],
    printed: Sequence[PrintedRate],
    angles: Mapping[str, Mapping[str, str]],
    made_up: Mapping[str, Any],
    model: Sequence[Mapping[str, Any]],
    resampled: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page.

    Parameters
    ----------
    manifest
        As of a run.
    printed
        Rows of the tables of R_k.
    angles
        Printed cosines after the first edit: row -> k -> text.
    made_up, model
        Null models on made-up states, and on each layer: ``name``, ``n``, ``d``, ``signatures``, ``cosines``.
    resampled
        Made-up states of other spectra, of which there are ``cosines`` only.
    """
    parts = ["# Printed patterns from artefacts alone", INTRO, "\n".join(_stands_on(manifest, model))]
    parts += ["## Printed rows", "\n".join(_printed_table(printed)), *_resolved(printed)]
    parts += ["## Null models on made-up states", "\n".join(_table(_rows([made_up])))]
    parts += [f"## Null models on `{manifest['models'][0]}`", "\n".join(_table(_rows(model)))]
    parts += [_summary(model), FORMS, "## How far another sample moves the leading subspaces"]
    parts += ["\n".join(_angles(angles, [made_up, *resampled, *model])), ANGLES + " " + _further(model)]
    return "\n\n".join(parts) + "\n"


ANGLES = """\
Cosine of the largest principal angle between the leading k directions of two samples (means over samples, float64).
k = 10 is kept as it is, the others are carried over from 4096 dimensions as shares of d. How fast the cosines fall
depends on n, d and the spectrum, so that values of a small model predict nothing about a large one; beside what an edit
does stands what another sample does without any edit."""


def _stands_on(made: Mapping[str, Any], model: Sequence[Mapping[str, Any]]) -> list[str]:
    hardware = made["hardware"]
    changed = " (with changes)" if made["dirty"] else ""
    layers = ", ".join(one["name"].removeprefix("layer ") for one in model)
    return [
        f"Model `{made['models'][0]}`, layers {layers}, n = {model[0]['n']} tokens in each of two samples, "
        f"d = {model[0]['d']}, corpus `{made['corpus']}`, one edit by {made['method']} (`{made['edit']}`), "
        f"profile `{made['profile']}`, seed {made['seed']}.",
        f"editverdict {made['editverdict']}, commit {made['commit']}{changed}, torch {made['packages']['torch']}, "
        f"{hardware['processor']}, {hardware['threads_per_process']} thread per process, {made['created']}.",
    ]


def _table(rows: Iterable[Sequence[str]], head: Sequence[str] = HEAD) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _span(values: Iterable[float | None]) -> str:
    """From the smallest to the largest of what is there."""
    kept = sorted(value for value in values if value is not None)
    if not kept:
        return "–"
    low, high = _number(kept[0]), _number(kept[-1])
    return low if low == high else f"{low} to {high}"


def _middle(values: Iterable[float | None]) -> str:
    """The median, and from the smallest to the largest."""
    kept = [value for value in values if value is not None]
    span = _span(kept)
    return span if " to " not in span else f"{statistics.median(kept):.3g} ({span})"


def _printed_table(printed: Sequence[PrintedRate]) -> list[str]:
    rows = []
    for words, own in grouped(printed):
        middle, half = middle_of_rest(own)
        tables = sorted({rate.table for rate in own})
        short = sorted({rate.d - rate.above for rate in own})
        above = f"d - {short[0]} to d - {short[-1]}" if words.startswith("all") else _span(r.above for r in own)
        rows.append(
            [
                f"Tables {tables[0]}-{tables[-1]}, {len(own)} rows: {words}",
                "100,000",
                _span(rate.d for rate in own),
                above.replace(f"{short[0]} to d - {short[0]}", str(short[0])),
                _middle(rate.r_min for rate in own),
                f"{middle:.3g} ± {half:.1g}" if words.startswith("all") else _middle(_middles(own)),
                _middle(rate.r_max for rate in own),
                _middle(rate.cond for rate in own),
                _middle(rate.floor for rate in own),
                _middle(rate.share for rate in own),
                _middle(rate.norm for rate in own),
                _middle(rate.rank for rate in own),
                "–",
            ]
        )
    return _table(rows)


def _middles(own: Sequence[PrintedRate]) -> list[float]:
    return [(rate.rest.low + rate.rest.high) / 2.0 for rate in own]


def _resolved(printed: Sequence[PrintedRate]) -> list[str]:
    """What the printed digits leave of the mean without the largest."""
    own = next((rates for words, rates in grouped(printed) if words.startswith("all")), None)
    if own is None:
        return []
    best = min(own, key=lambda rate: rate.rest.high - rate.rest.low)
    r_min, share, offset = leading_direction(own)
    return [
        "Medians over rows, and their range. The mean without the largest follows from the printed mean and largest "
        "R_k and is known as well as these are "
        f"rounded: best in Table {best.table}, {best.row}, {best.rest.low:.2f} to {best.rest.high:.2f}. The first "
        "line's is the mean over distinct rows weighted by that, with what rounding alone leaves open. The median of "
        f"the smallest R_k there, {r_min:.2g}, is what a leading direction has that {share:.1%} of the samples carry, "
        f"or a common offset of {offset:.0f} standard deviations."
    ]


def _rows(found: Sequence[Mapping[str, Any]]) -> Iterable[list[str]]:
    for one in found:
        for own in one["signatures"]:
            wide = own["dtype"] != "float32"
            if own["pooling"] != "mean_abs" or (wide and own["pairing"] == "paired"):
                continue
            words = WORDS[own["pairing"], own["centring"]] + (f", {own['dtype']}" if wide else "")
            yield [
                f"{one['name']}: {words}",
                str(own["n"]),
                str(own["d"]),
                str(own["above"]),
                *(
                    _number(own[name])
                    for name in ("r_min", "rest", "r_max", "cond", "floor", "share", "norm", "rank", "trend")
                ),
            ]


def _of(model: Sequence[Mapping[str, Any]], pairing: str, centring: str, pooling: str = "mean_abs") -> list[Any]:
    wanted = (pairing, centring, pooling, "float32")
    return [
        own
        for one in model
        for own in one["signatures"]
        if (own["pairing"], own["centring"], own["pooling"], own["dtype"]) == wanted
    ]


def _summary(model: Sequence[Mapping[str, Any]]) -> str:
    """The four null models on the layers, in sentences."""
    lines = []
    for (pairing, centring), words in WORDS.items():
        own = _of(model, pairing, centring)
        lines.append(
            f"- **{words}**: {_span(one['above'] for one in own)} of {own[0]['d']} directions above 1, mean without "
            f"the largest {_span(one['rest'] for one in own)} (RMS form: "
            f"{_span(one['rest'] for one in _of(model, pairing, centring, 'rms'))}), largest "
            f"{_span(one['r_max'] for one in own)}, condition number {_span(one['cond'] for one in own)}."
        )
    return "\n".join(lines)


def _angles(printed: Mapping[str, Mapping[str, str]], found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Cosines as printed after the first edit, of made-up states, and of the model's layers."""
    per_row = [list(next(iter(one["cosines"].values()))) for one in found]
    labels = max(per_row, key=len)
    ks = [label.partition("/")[0] for label in labels]
    rows = [[f"printed: {row}", *(cosines.get(k, "–") for k in ks)] for row, cosines in printed.items()]
    rows += [
        [f"{one['name']}: {what}", *(f"{values[label]:.4f}" if label in values else "–" for label in labels)]
        for one in found
        for what, values in one["cosines"].items()
    ]
    return _table(rows, ["what", *(f"k = {label}" for label in labels)])


def _further(found: Sequence[Mapping[str, Any]]) -> str:
    """How often another sample moves a subspace further than the edit does."""
    pairs = [
        (other, edited)
        for one in found
        for other, edited in zip(*(values.values() for values in one["cosines"].values()), strict=True)
    ]
    count = sum(other < edited for other, edited in pairs)
    return (
        f"On the model another sample moves the subspace further than the edit does in {count} of {len(pairs)} cases."
    )
