"""From a matplotlib figure to a small SVG: stand-alone (white paper) or inline (colours follow the page's theme)."""

from __future__ import annotations

import io
import re
import warnings
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#24292f", "#656d76", "#d8dee4", "#ffffff"
# Okabe and Ito's palette, which colour-blind readers can tell apart; yellow left out (too light on white).
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
REGION = "#029e74"  # one step beside the palette's green, so that a theme can set it apart

RC: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: smaller, searchable, readable by screen readers
    "svg.hashsalt": "editverdict",  # the same figure gives the same bytes
    "text.parse_math": False,  # a dollar sign in a title is a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # what XML forbids


def figure(height: float, width: float = 7.2) -> Figure:
    """An empty figure; ``height`` and ``width`` in inches (7.2 in are 691 px). Call within ``drawing()``."""
    made = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    FigureCanvasSVG(made)
    return made


def drawing() -> AbstractContextManager[None]:
    """The context in which figures are made and saved."""
    return matplotlib.rc_context(RC)


def _shorten(match: re.Match[str]) -> str:
    return f'd="{re.sub(r"-?[0-9]+[.][0-9]+", lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), match[1])}"'


def to_svg(fig: Figure, title: str) -> str:
    """The figure as SVG text without declaration, doctype, metadata or dates. Call within ``drawing()``."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # Glyphs that the measuring font lacks: the text stays text, so the reader's own fonts draw them.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor=PAPER)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'\bd="([^"]*)"', _shorten, text)
    text = re.sub(r"'DejaVu Sans'", "system-ui, 'DejaVu Sans', sans-serif", text)
    text = re.sub(r"\n\s*", "\n", _CONTROL.sub("", text))
    label = _attribute(title)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _attribute(text: str) -> str:
    clean = _CONTROL.sub("", text)
    for raw, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\n", " ")):
        clean = clean.replace(raw, safe)
    return clean


def inline(text: str, prefix: str) -> str:
    """The SVG made fit to stand in an HTML page.

    Ids get ``prefix`` (two pictures in one page must not share any), the fixed size goes (the page decides), and the
    colours become CSS variables ``--ink``, ``--muted``, ``--grid``, ``--paper``, ``--region``, ``--p0`` … ``--p5``.
    """
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', text)
    text = re.sub(r'(href=")#', rf"\1#{prefix}", text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.S)  # it would style the whole page
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", text, count=1)
    names = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper", REGION: "region"}
    names |= {colour: f"p{index}" for index, colour in enumerate(PALETTE)}
    for colour, name in names.items():
        text = re.sub(rf"(?<=[:\s]){colour}\b", f"var(--{name},{colour})", text)
    return text
