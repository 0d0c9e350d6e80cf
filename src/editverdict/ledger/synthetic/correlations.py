"""Tables 2 and 25-28: ranks of nine steps first, then rho, p and stars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from editverdict.ledger.synthetic.draft import Draft, fixed
from editverdict.ledger.synthetic.runs import STEPS
from editverdict.ledger.tables import Line

TABLES = (25, 26, 27, 28)
LEVELS = (0.05, 0.01, 0.001)
SMALLEST = 0.001
"""Below it, p is printed as a bound."""


def write(draft: Draft) -> None:
    """Every block of a table has its own R; the performance of a method along the steps is one and the same."""
    performance: dict[tuple[str, str], NDArray[np.float64]] = {}
    blocks: dict[tuple[str, str, str], NDArray[np.float64]] = {}
    kinds: dict[tuple[str, str], int] = {}
    for table in TABLES:
        for line in draft.lines(table):
            pair = line.keys["method"], line.keys["metric"]
            block = line.keys["summary"], line.keys["aggregation"], line.keys["method"]
            if pair not in performance:
                performance[pair] = chain_of(draft, *pair)
            if block not in blocks:
                kinds.setdefault(block[:2], len(kinds))
                blocks[block] = _ratios(kinds[block[:2]])
            _write(draft, line, blocks[block], performance[pair])
    for line in draft.lines(2):
        for twin in draft.lines(25, **line.keys):
            for column in ("rho", "stars", "p_op", "p"):
                draft.put(line, column, draft.text(twin, column))


def chain_of(draft: Draft, method: str, metric: str) -> NDArray[np.float64]:
    """Performance at the nine steps: what Table 37 prints, and the step that it leaves out between its neighbours."""
    lines = {line.keys["n_edits"]: line for line in draft.lines(37, method=method, metric=metric)}
    if not lines:
        return np.sort(draft.chance.uniform(0.0, 1.0, len(STEPS)))[::-1]
    known = [(at, draft.number(lines[step], "value")) for at, step in enumerate(STEPS) if step in lines]
    return np.interp(np.arange(len(STEPS)), [at for at, _ in known], [value for _, value in known])


def _ratios(number: int) -> NDArray[np.float64]:
    """R along the steps as ranks: growing in block 0, and in every other block with one or two neighbours exchanged.

    Block 1 to 8: the neighbours at that place; from block 9 on: two such pairs.
    """
    ranks = np.arange(1.0, len(STEPS) + 1)
    pairs = len(STEPS) - 1
    first = (number - 1) % pairs
    places = [first, first + 3][: 0 if number == 0 else 1 if number <= pairs else 2]
    for at in places:
        ranks[[at, at + 1]] = ranks[[at + 1, at]]
    return ranks


def _write(draft: Draft, line: Line, ratios: NDArray[np.float64], performance: NDArray[np.float64]) -> None:
    rho, p = map(float, stats.spearmanr(ratios, performance))
    draft.put(line, "rho", fixed(rho, 4))
    draft.put(line, "stars", str(sum(p < level for level in LEVELS)))
    small = p < SMALLEST
    draft.put(line, "p_op", "<" if small else "=")
    draft.put(line, "p", f"{SMALLEST:g}" if small else fixed(p, 4))
