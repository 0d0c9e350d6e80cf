"""A made-up run with one case of every verdict and every kind of picture, for the tests of the renderers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editverdict.inference.rows import (
    CheckResult,
    ClaimVerdict,
    ControlResult,
    DefinitionResult,
    PaperNumber,
    Region,
    Row,
)

HOSTILE = """<script>alert("x")</script> & 'quoted' $x_1$ | pipe"""
PAPER = "Fixture paper on knowledge editing"
Picture = dict[str, Any]


def units_picture(seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    groups = [
        {"name": "SmolLM2-135M", "values": [float(v) for v in rng.normal(0.79, 0.02, 24)]},
        {"name": "gaussian (negative)", "values": [*(float(v) for v in rng.normal(0.98, 0.004, 24)), None]},
        {"name": "random-init (comparator)", "values": [float(v) for v in rng.normal(0.93, 0.01, 20)]},
    ]
    return {"kind": "units", "title": "Effective rank per text block", "label": "r_eff / d", "groups": groups,
            "threshold": 0.85, "low": None, "high": None, "op": "<="}  # fmt: skip


def spectrum_picture(d: int = 576) -> Picture:
    k = np.arange(1, d + 1)
    layers = [{"layer": n, "sigma": [float(v) for v in (40 - n) * k**-0.6]} for n in (5, 10, 15, 20, 25, 29)]
    null = [float(v) for v in np.linspace(3.0, 1.6, d)]
    return {"kind": "spectrum", "title": "Spectrum of the hidden states", "layers": layers, "noise_floor": 4e-5,
            "null": {"name": "Marchenko-Pastur", "sigma": null}}  # fmt: skip


def amplification_picture(d: int = 560) -> Picture:
    rng = np.random.default_rng(1)
    k = np.arange(1, d + 1)
    sigma = [float(v) for v in 40.0 * k**-0.6]
    scale = {"ROME": (0.05, 0.30), "placebo (comparator)": (0.07, 0.53)}
    curves = [
        {"name": name, "sigma": sigma, "r": [float(v) for v in np.geomspace(a, b, d) * np.exp(rng.normal(0, 0.4, d))]}
        for name, (a, b) in scale.items()
    ]
    curves.append({"name": "no-op (negative)", "sigma": sigma, "r": [0.0] * d})
    return {"kind": "amplification", "title": "R_k at the edited layer", "curves": curves, "one": 1.0}


def angles_picture() -> Picture:
    curves = [
        {"name": "ROME T=10", "cos": [0.97, 0.95, 0.90, 0.31]},
        {"name": "no-op (baseline)", "cos": [1.0, 1.0, 1.0, 1.0]},
        {"name": "placebo (comparator)", "cos": [0.96, 0.93, 0.85, None]},
    ]
    return {"kind": "angles", "title": "Principal angles", "ks": [10, 14, 28, 281], "curves": curves,
            "chance": [0.02, 0.03, 0.05, 0.2]}  # fmt: skip


def series_picture() -> Picture:
    curves = [
        {"name": "ROME", "x": [1, 2, 5, 10], "y": [0.1, 0.2, 0.5, None]},
        {"name": "placebo (comparator)", "x": [1, 2, 5, 10], "y": [0.1, 0.14, 0.22, 0.32]},
    ]
    return {
        "kind": "series",
        "title": "R_min against T",
        "x": "edits T",
        "y": "median R_k",
        "curves": curves,
        "log": True,
    }


def pareto_picture() -> Picture:
    points = [
        {
            "name": "ROME",
            "group": "parameter",
            "x": 3.2,
            "y": 1.003,
            "x_interval": [2.9, 3.5],
            "y_interval": [0.99, 1.02],
        },
        {"name": "MEND", "group": "parameter", "x": 0.2, "y": 1.001, "on_front": True},
        {"name": "SCR", "group": "external-memory", "x": 0.012, "y": 1.41, "on_front": True},
        {"name": "PMET", "group": "parameter", "x": None, "y": 1.0},
    ]
    return {"kind": "pareto", "title": "Edit time and latency", "x": "seconds per edit", "y": "latency",
            "points": points}  # fmt: skip


def answers_picture() -> Picture:
    rows = [
        ["The capital of Malta is", "Valletta", "Oslo", "Oslo, a city in", True],
        ["Malta's capital:", "Valletta", "Oslo", HOSTILE, False],
    ]
    columns = ["prompt", "old", "new", "answer", "hit"]
    return {"kind": "answers", "title": f"Answers {HOSTILE}", "columns": columns, "rows": rows}


def make_row(**changes: Any) -> Row:
    """A supported spectrum case, changed as asked."""
    values: dict[str, Any] = {
        "case": "collapse-eff-rank[smollm2-135m]",
        "claim": "collapse-eff-rank",
        "statement": "Hidden states occupy a small part of their space.",
        "paper": PAPER,
        "hypothesis": "Hypothesis 1: collapse",
        "where": "Section 3, Tables 5-7",
        "severity": "critical",
        "family": "collapse",
        "model": "smollm2-135m",
        "profile": "laptop",
        "verdict": "supported",
        "reason": "SUPPORTED: r_eff/d = 0.791 [0.778, 0.804] lies within <= 0.85",
        "quantity": "effective-rank-ratio",
        "describes": "exponential of the entropy of the spectrum, divided by d",
        "reduce": "median of the inner layers",
        "estimate": 0.7913,
        "interval": (0.7781, 0.8042),
        "unit": "text_block",
        "n_units": 24,
        "min_units": 20,
        "expected": Region(op="<=", threshold=0.85, origin="paper", ref="Tables 5-7"),
        "margin_to_flip": 0.0458,
        "controls": (
            ControlResult(name="gaussian", role="negative", must="not_show", estimate=0.981, interval=(0.975, 0.986),
                          n_units=24, outcome="ok"),
            ControlResult(name="planted-rank", role="positive", must="show", estimate=0.46, interval=(0.45, 0.47),
                          n_units=24, outcome="ok", note="rank d/2 planted"),
            ControlResult(name="random-init", role="comparator", estimate=0.93, interval=(0.92, 0.94), n_units=20,
                          outcome="shown", contrast=-0.139, contrast_interval=(-0.15, -0.128), specific="yes"),
        ),
        "checks": (CheckResult(name="enough-tokens", ok=True, detail="28,800 tokens for d = 576"),),
        "definitions": (
            DefinitionResult(name="exp-entropy", role="primary", estimate=0.7913, interval=(0.7781, 0.8042),
                             verdict="supported"),
            DefinitionResult(name="participation-ratio", role="rival", estimate=0.42, interval=(0.40, 0.44),
                             verdict="supported"),
        ),
        "specific": "yes",
        "scope_reason": "the model is not one of the paper's",
        "stands_on": "SmolLM2-135M, T = 0, 2,000 texts",
        "descriptive": {"per layer": {"10": 0.80, "20": 0.77}, "sigma_min": 41.2},
        "paper_values": (PaperNumber(table=5, row="Llama-2-7B inner", value=0.79),),
        "not_comparable": "another model and another corpus",
        "evidence": "evidence/collapse-eff-rank-smollm2-135m.json",
        "hashes": {"spec": "a" * 64, "recipe": "b" * 64},
    }  # fmt: skip
    return Row.model_validate(values | changes)


def _other(claim: str, verdict: str, **changes: Any) -> Row:
    case = f"{claim}[smollm2-135m-ROME-worldfacts]"
    return make_row(
        **{
            "case": case,
            "claim": claim,
            "verdict": verdict,
            "reason": f"{verdict.upper().replace('_', ' ')}: see the numbers",
            "hypothesis": "Hypothesis 2: amplification",
            "method": "ROME",
            "dataset": "worldfacts",
            "evidence": None,
            "specific": None,
        }
        | changes
    )


def sample_rows() -> list[Row]:
    """One row of every verdict."""
    return [
        make_row(),
        _other(
            "amp-many-gt1-single-edit",
            "refuted",
            reason="REFUTED: share of R_k > 1 = 0.0031 [0.0012, 0.0049] is outside >= 0.5",
            quantity="share-amplified",
            estimate=0.0031,
            interval=(0.0012, 0.0049),
            expected=Region(op=">=", threshold=0.5, origin="paper", ref="'a large fraction'"),
            unit="edit",
            n_units=20,
            specific="no",
            depends_on_definition=True,
            evidence="evidence/amp.json",
        ),
        _other("pc-dominant-stable-early", "inconclusive", unit="chain", n_units=2, min_units=6),
        _other(
            "amp-c-comparable",
            "invalid",
            statement=f"Hostile {HOSTILE}",
            checks=(CheckResult(name="paired", ok=False, detail=f"token hashes differ {HOSTILE}"),),
            expected=Region(op="within", low=-0.25, high=0.25, origin="ours", rationale="equivalence"),
        ),
        _other(
            "rq1-drop-single-to-seq",
            "broken",
            estimate=None,
            interval=None,
            controls=(),
            checks=(),
            definitions=(),
            traceback="Traceback (most recent call last):\nRuntimeError: out of memory <b>",
        ),
        _other("scr-dominates-avg", "not_run", estimate=None, interval=None, controls=(), definitions=()),
    ]


def claim_of(row: Row) -> ClaimVerdict:
    return ClaimVerdict(
        claim=row.claim,
        statement=row.statement,
        hypothesis=row.hypothesis,
        verdict=row.verdict,
        reason=row.reason,
        stands_on=row.stands_on,
        generality="1 of 4 models of the claim's population",
        cases=(row.case,),
        specific=row.specific,
    )


MANIFEST: dict[str, Any] = {
    "run": "20260101-laptop",
    "profile": "laptop",
    "commit": "0123456789abcdef",
    "dirty": True,
    "versions": {"torch": "2.13.0", "editverdict": "0.1.0"},
    "seeds": [0, 1],
    "hostile": HOSTILE,
    "stages": [
        {"name": "moments", "seconds": 132.4, "built": 6, "reused": 0},
        {"name": "edits", "seconds": 402.0, "built": 80, "reused": 4},
    ],
}


def write_run(folder: Path) -> Path:
    """A complete run folder but for the Allure results."""
    rows = sample_rows()
    (folder / "evidence").mkdir(parents=True)
    lines = [row.model_dump_json() for row in rows]
    (folder / "results.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    claims = [claim_of(row).model_dump(mode="json") for row in rows]
    (folder / "claims.json").write_text(json.dumps(claims), encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    first = {"pictures": [units_picture(), spectrum_picture()]}
    second = {"pictures": [amplification_picture(), angles_picture(), answers_picture()]}
    assert rows[0].evidence is not None
    (folder / rows[0].evidence).write_text(json.dumps(first), encoding="utf-8")
    (folder / "evidence" / "amp.json").write_text(json.dumps(second), encoding="utf-8")
    return folder


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder with one case of every verdict."""
    return write_run(tmp_path / "out" / "20260101-laptop")


@pytest.fixture
def rows() -> list[Row]:
    """One row of every verdict."""
    return sample_rows()


@pytest.fixture
def claims(rows: list[Row]) -> list[ClaimVerdict]:
    """The claim verdicts of the rows."""
    return [claim_of(row) for row in rows]


@pytest.fixture
def row_with() -> Callable[..., Row]:
    """A factory of rows: ``row_with(verdict="refuted")``."""
    return make_row


@pytest.fixture
def manifest() -> dict[str, Any]:
    """A manifest with stages and a hostile value."""
    return dict(MANIFEST)


@pytest.fixture
def pictures() -> dict[str, Picture]:
    """One picture of every kind."""
    made = (
        units_picture(),
        spectrum_picture(),
        amplification_picture(),
        angles_picture(),
        series_picture(),
        pareto_picture(),
        answers_picture(),
    )
    return {picture["kind"]: picture for picture in made}


@pytest.fixture
def hostile() -> str:
    """Text that would be markup, mathematics or a table cell if it were not escaped."""
    return HOSTILE
