"""Runs of editing methods that never were: shares of right answers as counts of a number of questions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from editverdict.ledger.tables import Line

METRICS = ("rel", "gen", "loc", "port")
STEPS = ("1", "10", "20", "50", "100", "200", "500", "1000", "all")
QUESTIONS = {3: 1301, 29: 1301, 30: 839, 31: 1301, 32: 839}
ASKED = {"1": 100, "10": 100, "20": 100, "50": 100, "100": 100, "200": 200, "500": 500, "1000": 1000, "all": 1301}
"""Questions at a step of a chain; locality asks twice as many."""
EVENT_QUESTIONS = 9000
EVENTS_KEPT = {"AlphaEdit": 0.05, "WISE": 0.09}
"""Share of what an edit of an event gives that is left after all edits; where nothing is named, nothing."""
CHAIN_MODEL = "Llama-3.1-8B-Instruct"
"""Model of the tables along chains."""
SINGLE = {
    **{"ROME": 0.55, "MEMIT": 0.5, "PMET": 0.4, "RECT": 0.52, "AlphaEdit": 0.6, "FT-L": 0.15, "FT": 0.15},
    **{"MEND": 0.35, "AdaLoRA": 0.3, "WISE": 0.25, "GRACE": 0.5, "SCR": 0.94},
}
"""Reliability after one edit."""
KEPT = {
    **{"ROME": 0.0, "MEMIT": 0.0, "PMET": 0.0, "RECT": 0.0, "AlphaEdit": 0.92, "FT-L": 0.0, "FT": 0.0},
    **{"MEND": 0.0, "AdaLoRA": 0.0, "WISE": 0.4, "GRACE": 0.95, "SCR": 0.97},
}
"""Share of it that is left after all edits."""
PORTABILITY = {
    **{"ROME": 0.4, "MEMIT": 0.35, "PMET": 0.28, "RECT": 0.38, "AlphaEdit": 0.5, "FT-L": 0.3, "FT": 0.3},
    **{"MEND": 0.3, "AdaLoRA": 0.33, "WISE": 0.45, "SCR": 0.5},
}
"""Portability over reliability."""
LOCALITY = {
    **{"ROME": 0.3, "MEMIT": 0.35, "PMET": 0.38, "RECT": 0.32, "AlphaEdit": 0.7, "FT-L": 0.2, "FT": 0.2},
    **{"MEND": 0.4, "AdaLoRA": 0.25, "WISE": 0.8},
}
"""Share of the unedited model's answers that is left after one edit; memories outside the weights leave all."""
OUTSIDE = ("GRACE", "SCR", "Pre-edit")
COURSES = ("AlphaEdit", "MEMIT", "MEND", "ROME", "WISE")
"""Methods with a table along a chain."""
COLLAPSE = {"ROME": 5, "MEMIT": 8, "MEND": 6}
"""Step of :data:`STEPS` from which nothing is left."""


class Runs:
    """All scores of one seed, each drawn once."""

    def __init__(self, chance: np.random.Generator) -> None:
        self._chance = chance
        self._known: dict[tuple[str, ...], dict[str, float]] = {}
        self._chains: dict[tuple[str, str], list[float]] = {}

    def _counted(self, share: float, questions: int, least: float = 0.8) -> float:
        """The nearest lower share of that many questions, after a random loss; zero and one stay what they are."""
        moved = share * self._chance.uniform(least, 1.0) if share < 1.0 else 1.0
        return math.floor(moved * questions + 1e-9) / questions

    def _single(self, questions: int, method: str, fit: float) -> dict[str, float]:
        """After one edit; a method works as well as named, or less so with a model."""
        works = SINGLE.get(method, 0.0) * fit * self._chance.uniform(0.92 if method == "SCR" or fit < 1.0 else 0.5, 1.0)
        port = PORTABILITY.get(method, 0.25) * works
        shares = {"rel": works, "gen": 0.8 * works, "loc": LOCALITY.get(method, 1.0), "port": port}
        if method in ("Pre-edit", "GRACE"):
            shares |= {"gen": 0.05, "port": 0.08} | ({"rel": 0.035} if method == "Pre-edit" else {})
        least = {"SCR": 0.97, "AlphaEdit": 0.97, "Pre-edit": 0.3}.get(method, 0.85)
        return self._rows(questions, shares, least)

    def _sequential(self, questions: int, method: str, single: dict[str, float]) -> dict[str, float]:
        """After all edits: a share of what one edit gives; memories outside the weights keep the unedited answers."""
        kept = KEPT[method]
        values = self._rows(questions, {name: kept * value for name, value in single.items()}, 0.96)
        return values | {"loc": single["loc"]} if method in OUTSIDE else values

    def _rows(self, questions: int, shares: dict[str, float], least: float) -> dict[str, float]:
        """Counts: of twice as many questions for locality, and of three times as many for portability."""
        times = {"loc": 2, "port": 3}
        return {name: self._counted(share, questions * times.get(name, 1), least) for name, share in shares.items()}

    def quality(self, table: int, line: Line) -> dict[str, float]:
        """Scores of a row of Tables 3 and 29 to 32."""
        keys = line.keys
        return self._quality(table, keys["model"], keys["method"], keys["setting"])

    def _quality(self, table: int, model: str, method: str, setting: str) -> dict[str, float]:
        chained = table == 29 and model == CHAIN_MODEL and setting == "sequential"
        if chained and method in COURSES:
            return self.at(method, "all")
        if chained and method == "SCR":
            return self.retrieval("all")
        # What nothing was done to has one score, whatever the setting; so has a memory on other questions.
        name = str(table), model, method, "single" if method == "Pre-edit" else setting
        if name not in self._known:
            self._known[name] = self._new(table, model, method, name[-1])
        return self._known[name]

    def _new(self, table: int, model: str, method: str, setting: str) -> dict[str, float]:
        # AlphaEdit does not work with Llama 2 and Mistral, says the paper.
        fits = method != "AlphaEdit" or model.startswith(("Llama-3", "DeepSeek"))
        if setting == "single" and table == 29 and model == CHAIN_MODEL and method in COURSES:
            values = self.at(method, "1")
        elif setting == "single":
            values = self._single(QUESTIONS[table], method, 1.0 if fits else 0.078)
        elif fits:
            values = self._sequential(QUESTIONS[table], method, self._quality(table, model, method, "single"))
        else:
            values = dict.fromkeys(METRICS, 0.0)
        if method == "GRACE":
            before = self._quality(table, model, "Pre-edit", "single")
            values |= {metric: before[metric] for metric in ("gen", "loc", "port")}
        return values

    def events(self, line: Line, setting: str) -> dict[str, float]:
        """Scores of a row of Tables 35 and 36: edits of events do not hold, and break down one after the other."""
        method = line.keys["method"]
        name = "events", line.keys["model"], method, "single" if method in ("Pre-edit", "GRACE") else setting
        if name not in self._known:
            left = 1.0 if setting == "single" or method in OUTSIDE else EVENTS_KEPT.get(method, 0.0)
            port = (
                0.08 * self._chance.uniform(0.4, 1.0)
                if method in ("Pre-edit", "GRACE")
                else 0.3 * SINGLE[method] * left
            )
            loc = 1.0 if method in OUTSIDE else LOCALITY[method] * left
            self._known[name] = {
                "port": self._counted(port, EVENT_QUESTIONS),
                "loc": self._counted(loc, EVENT_QUESTIONS),
            }
        return self._known[name]

    # ----------------------------------------------------------------- along a chain
    def chain(self, method: str, metric: str) -> list[float]:
        """Scores of a method at :data:`STEPS`, falling; those after all edits are counts of Table 29's questions."""
        if (method, metric) not in self._chains:
            share = {"rel": 1.0, "gen": 0.8, "port": PORTABILITY[method]}.get(metric, 0.0) * SINGLE[method]
            first = (share or LOCALITY[method]) * self._chance.uniform(0.95, 1.0)
            last = first * (0.86 if method == "AlphaEdit" else max(KEPT[method], 0.3))
            highest = 0.95 if method == "AlphaEdit" else 0.8
            values = np.linspace(first, last, len(STEPS))
            if method in COLLAPSE:
                values[COLLAPSE[method] :] = 0.0
            else:
                values[1:-1] = self._unordered(np.linspace(highest * first, 1.02 * last, len(STEPS) - 2))
            self._chains[method, metric] = [
                self._whole(float(value), step, metric) for value, step in zip(values, STEPS, strict=True)
            ]
        return self._chains[method, metric]

    @staticmethod
    def _whole(share: float, step: str, metric: str) -> float:
        """The nearest lower share of the questions at a step."""
        n = ASKED[step] * (2 if metric == "loc" else 1)
        return math.floor(share * n) / n

    def _unordered(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same in an order that hardly falls: a run that keeps its level shows no trend between first and last."""
        while True:
            mixed = self._chance.permutation(values)
            if abs(stats.spearmanr(mixed, values).statistic) < 0.3:
                return mixed

    def at(self, method: str, step: str) -> dict[str, float]:
        """Scores of a method at a step of its chain."""
        return {metric: self.chain(method, metric)[STEPS.index(step)] for metric in METRICS}

    def retrieval(self, step: str) -> dict[str, float]:
        """Scores of retrieval alone with that many edits in its memory: hardly fewer with more of them."""
        at = STEPS.index(step)
        shares = {"rel": 0.955, "gen": 0.885, "port": 0.455}
        values = {name: self._whole(share - 0.004 * at, step, name) for name, share in shares.items()}
        return {**values, "loc": 1.0}

    def combined(self, method: str, step: str) -> dict[str, float]:
        """A method with retrieval: better than the method, and worse than retrieval."""
        alone, retrieved = self.at(method, step), self.retrieval(step)
        share = {"AlphaEdit": 0.42, "MEMIT": 0.5, "WISE": 0.35, "ROME": 0.6, "MEND": 0.68}[method]
        return {
            name: self._whole(share * alone[name] + (1.0 - share) * retrieved[name], step, name) for name in METRICS
        }

    # ----------------------------------------------------------------- others
    def alphaedit(self, table: int, model: str, setting: str, l2: str) -> dict[str, float]:
        """AlphaEdit with two coefficients: with 10 as in the other tables, with 1 a little lower."""
        single, n = self._quality(table, model, "AlphaEdit", "single"), QUESTIONS[table]
        values = single if setting == "single" else self._quality(table, model, "AlphaEdit", "sequential")
        if l2 == "10":
            return values
        name = "l2", str(table), model
        if name not in self._known:
            self._known[name] = {metric: float(self._chance.uniform(0.93, 0.97)) for metric in METRICS}
        lower = self._known[name]
        return {key: math.floor(lower[key] * value * n) / n for key, value in values.items()}

    def agreement(self, method: str, setting: str) -> float:
        """Share of tokens that are those of the unedited model."""
        if method in OUTSIDE:
            return 1.0
        name = "agreement", method, setting
        if name not in self._known:
            left = LOCALITY[method] * (1.0 if setting == "single" else KEPT[method])
            self._known[name] = {"kept": left * float(self._chance.uniform(0.93, 1.0))}
        return self._known[name]["kept"]
