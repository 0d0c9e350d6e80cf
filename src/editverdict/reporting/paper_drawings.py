"""Drawing Figures 3 to 5 and 7 to 10 as SVG, in the style of the other pictures; the paper's numbers are hollow."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from editverdict.reporting.axes import log_ticks
from editverdict.reporting.paper_figures import OURS, Curve, Figure, Panel
from editverdict.reporting.svg import INK, MUTED, PALETTE, PAPER, drawing, figure, to_svg

_MARKERS = "os^Dv*P"
"""One more than there are colours, so that six times seven curves differ in one of the two."""
_WIDE = 140
"""Characters that fit below a figure side by side."""


def _style(names: Sequence[str], curve: Curve) -> dict[str, Any]:
    """Colour and marker of a method, the same in all panels; the paper's points are hollow and dashed."""
    place = names.index(curve.name)
    colour, marker = PALETTE[place % len(PALETTE)], _MARKERS[place % len(_MARKERS)]
    if curve.source == OURS:
        return {"color": colour, "marker": marker, "ms": 5, "lw": 1.6}
    return {"color": colour, "marker": marker, "ms": 5.5, "lw": 1.0, "ls": (0, (4, 2)), "mfc": "none", "alpha": 0.75}


def _label(curve: Curve) -> str:
    return curve.name if curve.source == OURS else f"{curve.name}, paper"


def _series(axes: Axes, panel: Panel, names: Sequence[str]) -> None:
    for curve in panel.curves:
        x, y = zip(*curve.points, strict=True)
        axes.plot(x, y, label=_label(curve), **_style(names, curve))


def _points(axes: Axes, panel: Panel, names: Sequence[str]) -> None:
    _series(axes, panel, names)
    for curve in panel.curves:
        x, y = curve.points[0]
        axes.annotate(curve.name, (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8.5)
    if panel.curves:
        axes.axhline(1.0, color=INK, lw=1.1, ls=(0, (1, 1.2)))


def _bars(axes: Axes, panel: Panel, names: Sequence[str]) -> None:
    """Bars side by side at each place; the paper's are outlines."""
    texts = list(dict.fromkeys(text for curve in panel.curves for text in curve.texts))
    wide = 0.8 / max(len(panel.curves), 1)
    for position, curve in enumerate(panel.curves):
        colour = PALETTE[names.index(curve.name) % len(PALETTE)]
        ours = curve.source == OURS
        shift = (position - (len(panel.curves) - 1) / 2) * wide
        places = [texts.index(text) + shift for text in curve.texts]
        axes.bar(places, [y for _, y in curve.points], wide * 0.92, color=colour if ours else "none", edgecolor=colour,
                 ls="-" if ours else (0, (3, 1.5)), lw=1.1, label=_label(curve))  # fmt: skip
    size, width = (8, 14) if len(texts) <= 3 else (6.5, 10)
    shown = ["\n".join(textwrap.wrap(text.replace("-", "- "), width)).replace("- ", "-") for text in texts]
    axes.set_xticks(range(len(texts)), shown, fontsize=size)
    axes.grid(axis="x", visible=False)


_DRAWERS = {"series": _series, "points": _points, "bars": _bars}


def _panel(axes: Axes, panel: Panel, names: Sequence[str]) -> None:
    _DRAWERS[panel.kind](axes, panel, names)
    if panel.log_x and panel.curves:
        axes.set_xscale("log")
        log_ticks(axes.xaxis, *axes.get_xlim())
    if panel.log_y and panel.curves:
        axes.set_yscale("log")
        log_ticks(axes.yaxis, *axes.get_ylim())
    axes.set_title(f"{panel.title} (the paper's alone)" if panel.why and panel.curves else panel.title)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    if not panel.curves:
        axes.set_xticks([])
        axes.set_yticks([])
    if panel.why and not panel.curves:
        said = "\n".join(textwrap.wrap(f"not in this run: {panel.why}", 44)[:7])
        axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", va="center", fontsize=8, color=MUTED, zorder=6,
                  bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85, "pad": 3})  # fmt: skip


def figure_svg(made: Figure) -> str:
    """One figure with all its panels; the same bytes for the same numbers."""
    columns = 1 if len(made.panels) == 1 else 2 if len(made.panels) in (2, 4) else 3
    rows = -(-len(made.panels) // columns)
    names = list(dict.fromkeys(curve.name for panel in made.panels for curve in panel.curves))
    labels = dict.fromkeys(_label(curve) for panel in made.panels for curve in panel.curves)
    across = max(1, min(5, _WIDE // (max(map(len, labels), default=0) + 8)))  # 8: the handle and what is between two
    below = max(0, -(-len(labels) // across) - 3)
    with drawing():
        fig = figure(0.7 + 2.7 * rows + 0.22 * below, 9.6)
        grid = fig.subplots(rows, columns, squeeze=False)
        for axes, panel in zip(grid.flat, made.panels, strict=False):
            _panel(axes, panel, names)
        handles: dict[str, Any] = {}
        for axes in grid.flat:
            found = axes.get_legend_handles_labels()
            handles |= {label: handle for handle, label in zip(*found, strict=True) if label not in handles}
        if len(handles) > 1 and made.panels[0].kind != "points":
            fig.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=across, handlelength=2.6)
        return to_svg(fig, f"Figure {made.number}")
