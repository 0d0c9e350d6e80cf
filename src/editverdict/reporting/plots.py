"""Pictures of a case's evidence as small SVG files.

Colours can be told apart by colour-blind readers and go with a second mark (dash, marker); every axis is labelled; each
picture stays readable at 700 px. No pyplot: figures are objects, nothing is registered anywhere.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from editverdict.inference.rows import ControlResult, Row
from editverdict.reporting import axes, formatting, svg
from editverdict.reporting.axes import array, finite, log_ticks, running_median, scale_for, thin
from editverdict.reporting.evidence import (
    AmplificationPicture,
    AnglesPicture,
    AnswersPicture,
    ParetoPicture,
    Picture,
    SeriesPicture,
    SpectrumPicture,
    UnitsPicture,
)
from editverdict.reporting.files import write_text
from editverdict.reporting.formatting import number, percent, slug
from editverdict.reporting.svg import GRID, INK, MUTED, PALETTE, REGION, drawing, figure, to_svg

_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1)))
_ROLE_COLOURS = {"(comparator)": PALETTE[1], "(negative)": MUTED, "(positive)": PALETTE[3], "(baseline)": PALETTE[5]}
_MAX_DOTS = 240
_MAX_ANSWERS = 12


def _title(axes: Axes, title: str) -> None:
    axes.set_title("\n".join(textwrap.wrap(title, 92)[:3]), pad=8)


def _legend(axes: Axes, columns: int = 3) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles and axes.figure is not None:
        axes.get_figure().legend(  # type: ignore[union-attr]
            handles, labels, loc="outside lower left", ncols=columns, handlelength=2.6
        )


def _note(axes: Axes, text: str) -> None:
    axes.annotate(
        text, (1, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points",
        ha="right", va="bottom", fontsize=8, color=MUTED,
    )  # fmt: skip


# ------------------------------------------------------------------------------- one number per resampling unit
def _control_for(name: str, row: Row | None) -> ControlResult | None:
    plain = name.partition(" (")[0].strip()
    return next((c for c in row.controls if c.name == plain), None) if row else None


def _colour(name: str, position: int) -> str:
    by_role = next((colour for role, colour in _ROLE_COLOURS.items() if role in name), None)
    return PALETTE[0] if position == 0 else by_role or PALETTE[2 + position % 4]


def _span(picture: UnitsPicture) -> tuple[float | None, float | None]:
    if picture.op == "within":
        return picture.low, picture.high
    return (None, picture.threshold) if picture.op in ("<", "<=") else (picture.threshold, None)


def _shade(axes: Axes, picture: UnitsPicture) -> None:
    """The expected region, drawn to the edge of the axis where it is unbounded."""
    low, high = _span(picture)
    left, right = axes.get_xlim()
    if low is None and high is None:
        return
    axes.axvspan(
        left if low is None else low, right if high is None else high,
        color=REGION, alpha=0.13, lw=0, zorder=0, label="expected region",
    )  # fmt: skip
    for bound in (low, high):
        if bound is not None:
            axes.axvline(bound, color=REGION, lw=1.3, dashes=(4, 2), zorder=1)
    axes.set_xlim(left, right)


def _strip(axes: Axes, y: int, values: np.ndarray[Any, Any], colour: str) -> None:
    """Dots of one group; the offsets follow the golden ratio, so that no random numbers are needed."""
    shown = values[np.isfinite(values)]
    if len(shown) > _MAX_DOTS:
        shown = np.sort(shown)[np.linspace(0, len(shown) - 1, _MAX_DOTS).round().astype(int)]
    offsets = ((np.arange(len(shown)) * 0.6180339887) % 1 - 0.5) * 0.44
    axes.plot(shown, y + offsets, "o", ms=3.6, mfc=colour, mec="none", alpha=0.55, zorder=2)


def _estimate(axes: Axes, y: int, estimate: float | None, bounds: tuple[float, float] | None, label: str) -> None:
    if bounds is not None and np.isfinite(bounds).all():
        axes.plot(bounds, (y, y), color=INK, lw=2.2, solid_capstyle="butt", zorder=4, label=label)
    if estimate is not None and np.isfinite(estimate):
        axes.plot([estimate], [y], "D", ms=6, mfc=INK, mec="white", mew=0.9, zorder=5)


def _units_scale(axes: Axes, picture: UnitsPicture, row: Row | None) -> None:
    matched = [_control_for(g.name, row) for g in picture.groups[1:]]
    ends = [e for c in matched if c for e in c.interval or ()] + list((row and row.interval) or ())
    values = finite(*(g.values for g in picture.groups), ends, (picture.threshold, picture.low, picture.high))
    if not values:
        return
    name, options = scale_for(values)
    axes.set_xscale(name, **options)
    if name == "log":
        axes.set_xlim(min(values) / 1.6, max(values) * 1.6)
        log_ticks(axes.xaxis, min(values), max(values))
    elif name == "linear":
        pad = 0.06 * (max(values) - min(values)) or abs(max(values)) * 0.1 or 1.0
        axes.set_xlim(min(values) - pad, max(values) + pad)


def _draw_units(picture: UnitsPicture, row: Row | None) -> str:
    fig = figure(1.35 + 0.46 * len(picture.groups) + 0.17 * picture.title.count("\n"))
    axes = fig.add_subplot()
    level = percent(row.level) if row else ""
    label: str | None = f"{level} interval".strip()
    missing = 0
    for y, group in enumerate(picture.groups):
        values = array(group.values)
        missing += int((~np.isfinite(values)).sum())
        _strip(axes, y, values, _colour(group.name, y))
        control = _control_for(group.name, row)
        if y == 0 and row is not None:
            _estimate(axes, y, row.estimate, row.interval, label or "")
        elif control is not None:
            _estimate(axes, y, control.estimate, control.interval, "_control")
    _units_scale(axes, picture, row)
    _shade(axes, picture)
    names = ["\n".join([*textwrap.wrap(g.name, 27)[:2], f"n = {len(finite(g.values))}"]) for g in picture.groups]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(picture.label)
    _title(axes, picture.title)
    if missing:
        _note(axes, f"not measured, not shown: {missing}")
    _legend(axes)
    return to_svg(fig, picture.title)


# ------------------------------------------------------------------------------- spectra
def _draw_spectrum(picture: SpectrumPicture, row: Row | None) -> str:
    fig = figure(3.9)
    axes = fig.add_subplot()
    shades = matplotlib.colormaps["viridis"](np.linspace(0.25, 0.85, max(len(picture.layers), 2)))
    for position, layer in enumerate(picture.layers):
        sigma = array(layer.sigma)
        k, sigma = thin(np.arange(1.0, len(sigma) + 1), np.where(sigma > 0, sigma, np.nan), log_x=True)
        dashes: Any = _DASHES[position % 3]
        axes.plot(k, sigma, color=tuple(shades[position]), lw=1.5, ls=dashes, label=f"layer {layer.layer}")
    if picture.null is not None:
        sigma = array(picture.null.sigma)
        k, sigma = thin(np.arange(1.0, len(sigma) + 1), np.where(sigma > 0, sigma, np.nan), log_x=True)
        axes.plot(k, sigma, color=MUTED, lw=2.4, alpha=0.75, ls=(0, (1, 1)), label=f"null: {picture.null.name}")
    if picture.noise_floor is not None and picture.noise_floor > 0:
        floor = picture.noise_floor
        axes.axhline(floor, color=PALETTE[1], lw=1.3, ls=(0, (4, 2)), label=f"noise floor {number(floor)}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    _tidy_log(axes)
    axes.set_xlabel("direction k (1 = largest singular value)")
    axes.set_ylabel("singular value σₖ")
    _title(axes, picture.title)
    _legend(axes, 4)
    return to_svg(fig, picture.title)


def _tidy_log(axes: Axes) -> None:
    if axes.get_xscale() == "log":
        log_ticks(axes.xaxis, *axes.get_xlim())
    if axes.get_yscale() == "log":
        log_ticks(axes.yaxis, *axes.get_ylim())


# ------------------------------------------------------------------------------- amplification
def _draw_amplification(picture: AmplificationPicture, row: Row | None) -> str:
    fig = figure(3.9)
    axes = fig.add_subplot()
    zeros: list[str] = []
    for position, curve in enumerate(picture.curves):
        r = array(curve.r)
        if not (r > 0).any():
            zeros.append(curve.name)
            continue
        k, r = np.arange(1.0, len(r) + 1), np.where(r > 0, r, np.nan)
        dashes: Any = _DASHES[position % len(_DASHES)]
        colour = _colour(curve.name, position)
        axes.plot(*thin(k, r), color=colour, lw=0.7, alpha=0.45)
        axes.plot(*running_median(k, r), color=colour, lw=2.2, ls=dashes, label=f"{curve.name}, running median")
    axes.axhline(picture.one, color=INK, lw=1.1, ls=(0, (4, 2)), label=f"R = {number(picture.one)}")
    axes.set_yscale("log")
    axes.margins(x=0.01)
    _tidy_log(axes)
    axes.set_xlabel("direction index k (ordered by falling σₖ; 1 = largest variance)")
    axes.set_ylabel("amplification Rₖ = √n·|cₖ| / σₖ")
    _title(axes, picture.title)
    if zeros:
        _note(axes, f"no positive value, not drawn on a log axis: {', '.join(zeros)}"[:90])
    _legend(axes)
    return to_svg(fig, picture.title)


# ------------------------------------------------------------------------------- angles
def _draw_angles(picture: AnglesPicture, row: Row | None) -> str:
    fig = figure(3.6)
    axes = fig.add_subplot()
    for position, curve in enumerate(picture.curves):
        marker, dashes = "os^Dv*"[position % 6], _DASHES[position % len(_DASHES)]
        style: Any = {"ls": dashes, "marker": marker, "ms": 5, "lw": 1.5}
        axes.plot(picture.ks, array(curve.cos), color=_colour(curve.name, position), label=curve.name, **style)
    if picture.chance is not None:
        axes.plot(picture.ks, array(picture.chance), color=MUTED, lw=2, ls=(0, (1, 1)), label="chance")
    axes.set_xscale("log")
    axes.set_xticks(picture.ks, [str(k) for k in picture.ks])
    axes.minorticks_off()
    lowest = min(finite(*(c.cos for c in picture.curves), picture.chance or ()), default=0.0)
    axes.set_ylim(min(0.0, lowest) - 0.02, 1.03)
    axes.set_xlabel("subspace size k (leading directions)")
    axes.set_ylabel("cosine of the largest principal angle")
    _title(axes, picture.title)
    _legend(axes)
    return to_svg(fig, picture.title)


# ------------------------------------------------------------------------------- series
def _draw_series(picture: SeriesPicture, row: Row | None) -> str:
    fig = figure(3.6)
    axes = fig.add_subplot()
    for position, curve in enumerate(picture.curves):
        y = array(curve.y)
        style: Any = {"ls": _DASHES[position % len(_DASHES)], "marker": "os^Dv*"[position % 6], "ms": 5, "lw": 1.5}
        shown = np.where(y > 0, y, np.nan) if picture.log else y
        axes.plot(np.array(curve.x), shown, color=_colour(curve.name, position), label=curve.name, **style)
    if picture.log:
        axes.set_xscale("log")
        axes.set_yscale("log")
    _tidy_log(axes)
    axes.set_xlabel(picture.x)
    axes.set_ylabel(picture.y if len(picture.y) <= 60 else picture.y[:59] + "…")
    _title(axes, picture.title)
    _legend(axes)
    return to_svg(fig, picture.title)


# ------------------------------------------------------------------------------- two costs
def _draw_pareto(picture: ParetoPicture, row: Row | None) -> str:
    fig = figure(4.2)
    axes = fig.add_subplot()
    groups = list(dict.fromkeys(point.group for point in picture.points))
    missing: list[str] = []
    front = []
    for point in picture.points:
        if point.x is None or point.y is None or not (point.x > 0 and np.isfinite([point.x, point.y]).all()):
            missing.append(point.name)
            continue
        colour, marker = PALETTE[groups.index(point.group) % len(PALETTE)], "os^Dv*"[groups.index(point.group) % 6]
        bars = [
            None if ends is None else [[max(at - ends[0], 0.0)], [max(ends[1] - at, 0.0)]]
            for at, ends in ((point.x, point.x_interval), (point.y, point.y_interval))
        ]
        axes.errorbar(point.x, point.y, bars[1], bars[0], marker, color=colour, ms=6, lw=1.2, capsize=2, zorder=3)
        axes.annotate(point.name, (point.x, point.y), xytext=(5, 5), textcoords="offset points", fontsize=8.5)
        front += [(point.x, point.y)] if point.on_front else []
    for number_, group in enumerate(groups):
        axes.plot([], [], "os^Dv*"[number_ % 6], color=PALETTE[number_ % len(PALETTE)], label=group)
    if len(front) > 1:
        axes.step(*zip(*sorted(front), strict=True), where="post", color=MUTED, lw=1.2, ls=(0, (4, 2)), label="front")
    axes.axhline(picture.one, color=INK, lw=1.1, ls=(0, (1, 1.2)), label="unedited model")
    axes.set_xscale("log")
    _tidy_log(axes)
    axes.set_xlabel(picture.x)
    axes.set_ylabel(picture.y)
    _title(axes, picture.title)
    if missing:
        _note(axes, f"not measured, not shown: {', '.join(missing)}"[:90])
    _legend(axes, 4)
    return to_svg(fig, picture.title)


# ------------------------------------------------------------------------------- answers
def _draw_answers(picture: AnswersPicture, row: Row | None) -> str:
    shown = picture.rows[:_MAX_ANSWERS]
    fig = figure(0.75 + 0.24 * (len(shown) + 1))
    axes = fig.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(shown) + 0.6, -0.6)
    columns = max(len(picture.columns), 1)
    width = max(6, int(104 / columns))
    for y, cells in enumerate((picture.columns, *shown)):
        for x, cell in enumerate(cells[:columns]):
            text = number(cell).replace("\n", " ⏎ ")
            text = text if len(text) <= width else text[: width - 1] + "…"
            axes.text(x / columns, y, text, va="center", fontsize=8.5, weight="bold" if y == 0 else "normal")
    axes.axhline(0.5, color=GRID, lw=1)
    _title(axes, picture.title)
    if len(picture.rows) > len(shown):
        _note(axes, f"{len(shown)} of {len(picture.rows)} rows")
    return to_svg(fig, picture.title)


_DRAWERS: dict[str, Callable[[Any, Row | None], str]] = {
    "units": _draw_units,
    "spectrum": _draw_spectrum,
    "amplification": _draw_amplification,
    "angles": _draw_angles,
    "series": _draw_series,
    "pareto": _draw_pareto,
    "answers": _draw_answers,
}


def render_svg(picture: Picture, row: Row | None = None) -> str:
    """Draw one picture.

    Parameters
    ----------
    picture
        Arrays to draw; missing and non-finite values are left out and, for unit plots, counted.
    row
        The case, for the estimate and the interval beside the dots.

    Returns
    -------
    str
        SVG text, 691 px wide, the same bytes for the same input.
    """
    with drawing():
        return _DRAWERS[picture.kind](picture, row)


def picture_name(row: Row, position: int, picture: Picture) -> str:
    """File name of a picture, e.g. ``collapse-cond-smollm2-135m-1-spectrum.svg``."""
    return f"{slug(row.case)}-{position}-{picture.kind}.svg"


@functools.cache
def _hand() -> str:
    """What the drawing itself depends on: our code and matplotlib."""
    code = [Path(module.__file__ or "") for module in (axes, formatting, svg)] + [Path(__file__)]
    return matplotlib.__version__ + "".join(file.read_text(encoding="utf-8") for file in code)


def _key(picture: Picture, row: Row) -> str:
    shown = [row.estimate, row.interval, row.level, [(c.name, c.estimate, c.interval) for c in row.controls]]
    return hashlib.sha256(f"{_hand()}{picture.model_dump_json()}{shown!r}".encode()).hexdigest()


def _kept(path: Path, head: str) -> str | None:
    """The picture in a file, if it is whole and the one that the head names."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return None
    whole = text.startswith(head) and text.rstrip().endswith("</svg>")
    return text.removeprefix(head) if whole else None


def kept_svg(run_dir: Path, row: Row, position: int, picture: Picture, drawings: Path | None = None) -> str:
    """The picture as it stands in ``plots/`` of the run folder; drawn there now if it is not, or is of other numbers.

    Whoever judges a case draws its pictures for Allure; the summary then finds them, and so does the reader who wants
    one for a paper. ``position`` is the picture's place among those of the case, from 1.

    Parameters
    ----------
    drawings
        A folder that runs share: what was drawn of the same numbers by the same code is taken from there.
    """
    path, key = run_dir / "plots" / picture_name(row, position, picture), _key(picture, row)
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<!-- {key} -->\n'
    if (kept := _kept(path, head)) is not None:
        return kept
    shared = drawings / f"{key}.svg" if drawings else None
    drawn = _kept(shared, head) if shared else None
    if drawn is None:
        drawn = render_svg(picture, row)
        if shared:
            with contextlib.suppress(OSError):  # a folder that cannot be written saves no time, and costs no picture
                write_text(shared, head + drawn)
    write_text(path, head + drawn)
    return drawn
