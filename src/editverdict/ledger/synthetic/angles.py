"""Tables 13-20: cosines of the smallest principal angle, which grow with k and fall with the number of edits."""

from __future__ import annotations

import math

from editverdict.ledger.synthetic.draft import Draft, fixed

TABLES = range(13, 21)
LOSS = {"AlphaEdit": 0.02, "ROME": 0.05, "MEND": 0.05}
"""1 - cos of the leading 10 directions after about 10 edits."""
_LAST = 1301
"""Edits behind the step called ``all``."""


def write(draft: Draft) -> None:
    """One table after the other; rounding keeps the order."""
    for table in TABLES:
        own = float(draft.chance.uniform(0.9, 1.1))
        for line in draft.lines(table):
            steps = _LAST if line.keys["edit_step"] == "all" else int(line.keys["edit_step"])
            k = int(line.keys["top_k"])
            loss = LOSS[line.keys["method"]] * own * math.log10(1.0 + steps) * (10.0 / k) ** 1.7
            draft.put(line, "cos", fixed(1.0 - loss, 3))
