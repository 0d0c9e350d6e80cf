"""`make bench`: how often verdicts are right, on synthetic worlds whose answer is known.

Every world goes through the project's own estimators, controls and decision rule (`editverdict.pipeline.planted`).
Prints the table and writes it to docs/verdict-quality.md. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from editverdict.inference.association import association_interval
from editverdict.inference.intervals import LEVEL
from editverdict.inference.pvalues import alpha
from editverdict.pipeline.planted.association import DECISIVE_FROM
from editverdict.pipeline.planted.quality import (
    COVERAGE_WITHIN,
    DECISIVE_AT_LEAST,
    FAMILIES,
    WRONG_AT_MOST,
    Tally,
    run,
)

ROOT = Path(__file__).resolve().parents[1]
VERDICTS = ("supported", "refuted", "inconclusive", "invalid")
UNIT_COLUMNS = [
    "hypothesis",
    "units",
    "worlds",
    "wrong decisive",
    "coverage",
    "well-powered",
    "decisive of these",
    "an exact t interval",
]
_ORDER = np.arange(6.0)[:, None] * np.ones(2)
SIX_CHAINS = f"{(association_interval(_ORDER, -_ORDER).interval or (0.0, 0.0))[1]:.2f}"
"""Upper end of a perfect negative association of six chains at two T."""


def percent(share: float) -> str:
    """``0.9942`` as ``99.4%``; a share of nothing is a dash."""
    return "–" if share != share else f"{100 * share:.1f}%"


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def page(tallies: list[Tally], worlds: int, seed: int, seconds: float) -> str:
    """The whole of docs/verdict-quality.md."""
    missed = [text for tally in tallies for text in tally.misses()]
    rates = [
        [
            t.family,
            str(t.worlds),
            str(t.near),
            f"{t.wrong} ({percent(t.wrong_rate)})",
            f"{t.powered_decisive} of {t.powered} ({percent(t.decisive_rate)})",
            percent(t.coverage),
        ]
        for t in tallies
    ]
    matrix = [
        [f"{t.family}: {answer}", *(str(t.matrix.get((answer, verdict), 0)) for verdict in VERDICTS)]
        for t in tallies
        for answer in ("supported", "refuted")
    ]
    units = [
        [
            t.family,
            str(n),
            str(c.worlds),
            f"{c.wrong} ({percent(c.wrong / c.worlds)})",
            percent(c.covered / c.worlds),
            str(c.powered),
            percent(c.decided / c.powered) if c.powered else percent(float("nan")),
            percent(c.could / c.powered) if c.powered else percent(float("nan")),
        ]
        for t in tallies
        for n, c in t.by_units.items()
    ]
    few = [f"{t.family} ({'; '.join(t.undecided_by_few())})" for t in tallies if t.undecided_by_few()]
    outcome = "Missed: " + "; ".join(missed) + "." if missed else "Wrong verdicts and coverage meet their targets."
    if few:
        share = f"{100 * DECISIVE_AT_LEAST:g}%"
        outcome += f"""

**Not met with few chains: decisive in {share} of the well-powered.** Decided are of {", ".join(few)}."""
    return f"""# How often verdicts are right

Synthetic worlds whose answer is known, judged by the project's own estimators, controls and decision rule
(`editverdict.pipeline.planted`; `make bench` runs them all and writes this page; a fast version is in the self-tests).

{outcome}

The profiles that ship have 6 chains: with them claims on association with performance mostly stay undecided, and that
is no fault of their subject (see "Six chains").

- Nominal coverage of every interval: {100 * LEVEL:g}%; one-sided α of every decision: {alpha(LEVEL):g}.
- The truth of a world is a closed form, or a computation in the limit of infinite data; so is the true standard error,
  or it is the root mean square error about the truth over repeated sampling (so that a bias counts as an error).
- *Near*: truth within 2 true standard errors of the threshold. *Well-powered*: at least 4 away; distances of these are
  uniform from 4 to 40, or to where the controls would no longer be in order.
- Targets: wrong decisive verdicts at most {100 * WRONG_AT_MOST:g}% of worlds, decisive at least
  {100 * DECISIVE_AT_LEAST:g}% of the well-powered, coverage {100 * LEVEL:g}% within {100 * COVERAGE_WITHIN:g} points.
- Sizes: d = 32; spectra from 50 samples per dimension in 80 texts and 20 blocks; 20 edits; 6 or 12 chains (for
  associations 6, 12, 24 and 48, a quarter of the worlds each, three T, one to four dimensions; for cumulation 6 to 48
  with 20 to 100 single edits, of which six in a tenth of the worlds); no model.
- Of associations every number of chains has to meet the targets by itself; the share of decisive verdicts is asked for
  from {DECISIVE_FROM} chains on. Elsewhere the targets are of a hypothesis as a whole.

{markdown_table(["hypothesis", "worlds", "near", "wrong decisive", "decisive among well-powered", "coverage"], rates)}

## True answer and verdict

{markdown_table(["hypothesis: true answer", *VERDICTS], matrix)}

## By number of units

An exact {100 * LEVEL:g}% interval over 6 units is 4.03 standard errors wide to each side, so that it decides one
case in two that lies exactly 4 away; the last column is what such an interval would decide of the well-powered worlds,
were their units normal.

{markdown_table(UNIT_COLUMNS, units)}

## Six chains

Why claims on association with performance seldom get a verdict from the six chains that ship:

- An interval over six chains is 4.03 standard errors wide to each side, and its standard error is at least that of
  Fisher's scale for as many independent pairs as there are values. The strongest link that there can be, all ranks the
  other way round at both T of the profile, then reaches from -1 to {SIX_CHAINS}: about the threshold of -0.5, with
  nothing to spare for any noise, a tie or a T that is left out.
- The floor cannot be made away with, for six chains agree by chance: without it 86% to 98% of intervals held the truth.
- All dimensions have to lie beyond the threshold, so the one that is least sure decides when.
- A permutation test is no way out. Six chains have 720 orders, so its smallest p, to one side, is 1/720; over
  the 48 cells of the paper's tables Holm's correction makes that 0.067.
- More T of the same chains do not replace chains: a chain's values at several T are made of the same edits.

So an `inconclusive` of `corr-*` with six chains says that there are six chains. From {DECISIVE_FROM} on such claims
are decided where there is something to decide, and most of the time with 24; no profile that ships has so many.

## What the worlds changed

- The bias of a spectrum's statistic was read off n, n/2 and n/4 alone; a slope beyond noise was then covered in 78% of
  worlds. It is read off all blocks, too (twice Quenouille's jackknife bias), and a slope beyond noise is widened by the
  whole slope of noise, because sampling spreads an anisotropic spectrum less than noise.
- All edits are read on one base spectrum, whose sampling error no number of edits averages out. Slopes on σ_k (covered
  in 96% of worlds) are widened by what leaving out blocks of the base sample does to them.
- Thirty-fold controls stand on ten edits: over six, edits whose sizes differ by half left one well-powered world in
  fifteen undecided for its control alone.
- An association within T counts only T at which both sides vary: a T at which all chains score alike had diluted it.
- Associations in several dimensions are judged by the largest, not by the mean, and its interval is made of the
  dimensions' own: near ties the jackknife of a maximum would have the spread of whichever dimension leads.
- The associations' worlds had one dimension, no controls and mostly 48 chains or 96, and it was this mix that let the
  page say that all targets are met. Now every number of chains stands for itself.
- Exponents of R_min were fitted to each chain, and worlds had isotropic steps alone. Of rank-one edits, which move
  u_min by a half-normal amount, a random walk (1/2) then came out at .66 to .77. Means over chains, and at T = 1 over
  single edits, are taken before logarithms; half of the worlds and the controls have rank-one steps.
- The distance from the linear law divided by the mean of twenty single edits as if it were known, and averaged absolute
  values: 25 to 92% of intervals held the truth. A chain is now left out together with its own single edits, and the
  absolute value is taken of the estimate. The median over three layers makes such a jackknife wider than it need be.
- "Rises with every step" took the smallest step within each chain, which noise alone makes negative; each step's mean
  over chains is taken first (no family of its own; `inference/smallest.py` has its tests).
- Not mended: the share of R_k above 1 is read on the same base spectrum without such an allowance; its coverage is the
  lowest here.

## What was run

`bench/verdict_quality.py --worlds {worlds} --seed {seed}`: {sum(t.worlds for t in tallies)} worlds in {seconds:.0f} s
on one thread ({platform.machine()}, Python {platform.python_version()}, torch {torch.__version__.partition("+")[0]}).
"""


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=520, help="worlds per hypothesis")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--only", default="", help="hypotheses whose name contains this; the page is then not written")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "verdict-quality.md", help="where the page goes")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    console, started, tallies = Console(width=120), time.perf_counter(), []
    for family in (one for one in FAMILIES if options.only in one.name):
        tallies.append(run(family, range(options.seed, options.seed + options.worlds)))
        t = tallies[-1]
        console.print(
            f"{t.family}: {t.worlds} worlds, {t.near} near, {t.wrong} wrong, {t.powered_decisive} of {t.powered} "
            f"well-powered decided, coverage {percent(t.coverage)}, {t.seconds:.0f} s",
            highlight=False,
        )
    text = page(tallies, options.worlds, options.seed, time.perf_counter() - started)
    if options.only:
        console.print(text[text.index("## By number") : text.index("## Six")], highlight=False, markup=False)
    else:
        options.out.write_text(text, encoding="utf-8")
        console.print(f"table: {options.out}", highlight=False)
    missed = [text for tally in tallies for text in tally.misses()]
    console.print(
        "missed: " + "; ".join(missed) if missed else "no target is missed where it is asked for", highlight=False
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
