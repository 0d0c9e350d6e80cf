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

import torch
from rich.console import Console

from editverdict.inference.intervals import LEVEL
from editverdict.inference.pvalues import alpha
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
        [t.family, str(n), str(count), percent(decided / count), percent(could / count)]
        for t in tallies
        for n, (count, decided, could) in t.by_units.items()
    ]
    outcome = "All targets are met." if not missed else "Missed: " + "; ".join(missed) + "."
    return f"""# How often verdicts are right

Synthetic worlds whose answer is known, judged by the project's own estimators, controls and decision rule
(`editverdict.pipeline.planted`; `make bench` runs them all and writes this page; a fast version is in the self-tests).
{outcome} The share of decisive verdicts depends on the number of units: that of the association within T is met by 24
chains and more (last table); with the 6 chains of the profiles that ship, such claims mostly stay undecided.

- Nominal coverage of every interval: {100 * LEVEL:g}%; one-sided α of every decision: {alpha(LEVEL):g}.
- The truth of a world is a closed form, or a computation in the limit of infinite data; so is the true standard error,
  or it is the root mean square error about the truth over repeated sampling (so that a bias counts as an error).
- *Near*: truth within 2 true standard errors of the threshold. *Well-powered*: at least 4 away; distances of these are
  uniform from 4 to 40, or to where the controls would no longer be in order.
- Targets: wrong decisive verdicts at most {100 * WRONG_AT_MOST:g}% of worlds, decisive at least
  {100 * DECISIVE_AT_LEAST:g}% of the well-powered, coverage {100 * LEVEL:g}% within {100 * COVERAGE_WITHIN:g} points.
- Sizes: d = 32; spectra from 50 samples per dimension in 80 texts and 20 blocks; 20 edits; 6 or 12 chains (for
  associations 6 to 96; for cumulation 6 to 48 with 20 to 100 single edits, of which six in a tenth of the worlds); no
  model.

{markdown_table(["hypothesis", "worlds", "near", "wrong decisive", "decisive among well-powered", "coverage"], rates)}

## True answer and verdict

{markdown_table(["hypothesis: true answer", *VERDICTS], matrix)}

## Well-powered worlds by number of units

An exact {100 * LEVEL:g}% interval over 6 units is 4.03 standard errors wide to each side, so that it decides one
case in two that lies exactly 4 away; the last column is what such an interval would decide of these very worlds, were
their units normal.

{markdown_table(["hypothesis", "units", "well-powered", "decisive", "an exact t interval"], units)}

## What the worlds changed

- The bias of a spectrum's statistic was read off n, n/2 and n/4 alone; a slope beyond noise was then covered in 78% of
  worlds. It is read off all blocks, too (twice Quenouille's jackknife bias), and a slope beyond noise is widened by the
  whole slope of noise, because sampling spreads an anisotropic spectrum less than noise.
- All edits are read on one base spectrum, whose sampling error no number of edits averages out. Slopes on σ_k (covered
  in 96% of worlds) are widened by what leaving out blocks of the base sample does to them.
- Thirty-fold controls stand on ten edits: over six, edits whose sizes differ by half left one well-powered world in
  fifteen undecided for its control alone.
- An association within T counts only T at which both sides vary: a T at which all chains score alike had diluted it.
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
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "verdict-quality.md", help="where the page goes")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    console, started, tallies = Console(width=120), time.perf_counter(), []
    for family in FAMILIES:
        tallies.append(run(family, range(options.seed, options.seed + options.worlds)))
        t = tallies[-1]
        console.print(
            f"{t.family}: {t.worlds} worlds, {t.near} near, {t.wrong} wrong, {t.powered_decisive} of {t.powered} "
            f"well-powered decided, coverage {percent(t.coverage)}, {t.seconds:.0f} s",
            highlight=False,
        )
    options.out.write_text(page(tallies, options.worlds, options.seed, time.perf_counter() - started), encoding="utf-8")
    missed = [text for tally in tallies for text in tally.misses()]
    console.print("missed: " + "; ".join(missed) if missed else "all targets are met", highlight=False)
    console.print(f"table: {options.out}", highlight=False)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
