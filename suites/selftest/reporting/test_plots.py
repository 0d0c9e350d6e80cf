"""Pictures: small XML of their own, labelled, and kept in the run folder until their numbers change."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from editverdict.inference.rows import Row
from editverdict.reporting import plots
from editverdict.reporting.axes import scale_for, thin
from editverdict.reporting.evidence import Evidence, Picture
from editverdict.reporting.plots import kept_svg, render_svg
from editverdict.reporting.run import load_evidence
from editverdict.reporting.svg import inline

KINDS = ("units", "spectrum", "amplification", "angles", "series", "pareto", "answers")


def typed(picture: dict[str, Any]) -> Any:
    return TypeAdapter(Picture).validate_python(picture)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_is_small_xml(kind: str, pictures: dict[str, Any], rows: list[Row], hostile: str) -> None:
    picture = dict(pictures[kind], title=hostile + "\x00")
    text = render_svg(typed(picture), rows[0])
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert "$x_1$" in "".join(root.itertext())  # not taken for mathematics
    assert len(text) < 60_000
    assert text == render_svg(typed(picture), rows[0])


@pytest.mark.parametrize("kind", KINDS[:6])
def test_axes_are_labelled(kind: str, pictures: dict[str, Any], rows: list[Row]) -> None:
    words = " ".join(ElementTree.fromstring(render_svg(typed(pictures[kind]), rows[0])).itertext())
    expected = {
        "units": ("r_eff / d", "99% interval", "expected region", "gaussian (negative)"),
        "spectrum": ("direction k", "singular value", "noise floor 4.00e-5", "layer 29", "Marchenko-Pastur"),
        "amplification": ("direction index k", "amplification", "R = 1", "placebo (comparator)", "no-op (negative)"),
        "angles": ("subspace size k", "cosine", "chance", "281"),
        "series": ("edits T", "median R_k", "ROME", "placebo (comparator)"),
        "pareto": ("seconds per edit", "latency", "ROME", "external-memory", "front", "not measured, not shown: PMET"),
    }
    assert [word for word in expected[kind] if word not in words] == []


def test_values_not_measured_are_counted_not_drawn_as_zero(pictures: dict[str, Any], rows: list[Row]) -> None:
    words = " ".join(ElementTree.fromstring(render_svg(typed(pictures["units"]), rows[0])).itertext())
    assert "not measured, not shown: 1" in words
    assert "n = 24" in words  # 25 values in the group, one of them missing


@pytest.mark.parametrize("values", [[], [None], [0.0, 0.0], [1e-8, 3e4], [0.0, 1e-6, 5.0], [math.nan, 0.2]])
def test_odd_values_do_not_stop_a_picture(values: list[float | None]) -> None:
    picture = {"kind": "units", "title": "t", "label": "x", "groups": [{"name": "a", "values": values}], "op": ">="}
    ElementTree.fromstring(render_svg(typed(picture | {"threshold": 0.5})))


def test_thinning_keeps_the_extremes() -> None:
    x = np.arange(1.0, 20_001.0)
    y = np.sin(x)
    y[12_345], y[777] = 9.0, -9.0
    thin_x, thin_y = thin(x, y)
    assert len(thin_x) <= 182
    assert (thin_y.max(), thin_y.min()) == (9.0, -9.0)
    assert (np.diff(thin_x) > 0).all()


def test_scales() -> None:
    assert scale_for([0.1, 0.2])[0] == "linear"
    assert scale_for([1e-8, 1.0])[0] == "log"
    assert scale_for([0.0, 1e-8, 1.0])[0] == "symlog"
    assert scale_for([-1.0, 1e-8, 1.0])[0] == "linear"


def test_inline_pictures_share_no_ids_and_follow_the_theme(pictures: dict[str, Any], rows: list[Row]) -> None:
    text = inline(render_svg(typed(pictures["units"]), rows[0]), "c1-")
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert ids
    assert all(name.startswith("c1-") for name in ids)
    assert used <= ids
    assert "<style" not in text
    assert "var(--ink,#24292f)" in text
    ElementTree.fromstring(text)


@pytest.mark.parametrize(
    "broken",
    [
        {"kind": "histogram", "title": "t"},
        {"kind": "angles", "title": "t", "ks": [1, 2], "curves": [{"name": "a", "cos": [0.1]}]},
        {"kind": "amplification", "title": "t", "curves": [{"name": "a", "sigma": [1.0], "r": []}]},
        {"kind": "series", "title": "t", "x": "T", "y": "R", "curves": [{"name": "a", "x": [1.0], "y": []}]},
        {"kind": "units", "title": "t", "label": "x", "groups": [], "op": "<="},
    ],
)
def test_evidence_of_another_shape_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Evidence.model_validate({"pictures": [broken]})


def test_plots_are_written(run_dir: Path, rows: list[Row]) -> None:
    evidence = load_evidence(run_dir, rows[0])
    assert evidence is not None
    drawn = [kept_svg(run_dir, rows[0], place, picture) for place, picture in enumerate(evidence.pictures, start=1)]
    written = sorted((run_dir / "plots").iterdir())
    assert [path.name for path in written] == [
        "collapse-eff-rank-smollm2-135m-1-units.svg",
        "collapse-eff-rank-smollm2-135m-2-spectrum.svg",
    ]
    for path, text in zip(written, drawn, strict=True):
        ElementTree.parse(path)
        assert path.read_text(encoding="utf-8").endswith(text)


def test_a_kept_plot_is_drawn_once_and_again_for_other_numbers(
    run_dir: Path, rows: list[Row], pictures: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row whose interval changed (judged again by another rule) must not show the old interval."""
    drawn: list[float | None] = []

    def counted(picture: Any, row: Row | None = None) -> str:
        drawn.append(row.estimate if row else None)
        return render_svg(picture, row)

    monkeypatch.setattr(plots, "render_svg", counted)
    first = kept_svg(run_dir, rows[0], 1, typed(pictures["units"]))
    assert kept_svg(run_dir, rows[0], 1, typed(pictures["units"])) == first
    assert drawn == [rows[0].estimate]
    moved = rows[0].model_copy(update={"estimate": 0.6})
    assert kept_svg(run_dir, moved, 1, typed(pictures["units"])) != first
    half = run_dir / "plots" / "collapse-eff-rank-smollm2-135m-1-units.svg"
    half.write_text(half.read_text(encoding="utf-8")[:400], encoding="utf-8")
    assert kept_svg(run_dir, moved, 1, typed(pictures["units"])).endswith("</svg>\n")
    assert len(drawn) == 3
    shared, other = run_dir / "drawings", run_dir / "another run"
    for place in (run_dir, other):
        kept_svg(place, rows[0], 2, typed(pictures["units"]), shared)
    assert len(drawn) == 4
    assert [p.read_bytes() for p in (other / "plots").iterdir()] == [p.read_bytes() for p in shared.iterdir()]
