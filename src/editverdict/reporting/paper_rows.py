"""What a row's descriptive numbers say in the columns of the paper's tables.

Every reader takes a row and gives records: column of the paper's table -> number as measured, or None where there is
none. A row that was not measured, or by a version that kept less, gives no records: missing is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editverdict.inference.rows import Row

Record = dict[str, Any]
NAMES = ("model", "method", "layer", "module", "edit_step", "top_k", "stands_for", "curve",
         "summary", "aggregation", "metric", "dataset", "setting", "l2", "n_edits", "logp_group")  # fmt: skip
"""Columns that say what a number is of."""
_SUMMARIES = {"trimmed": "trimmed_mean"}
"""Our name of a summary over directions -> the paper's, where they differ."""


def mapping_at(value: Any, *path: str) -> Mapping[str, Any]:
    """What lies at a path of names; empty if there is nothing, or nothing with names in it."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _named(row: Row, *path: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The entries at a path that have names in them: layer or module -> its numbers."""
    return [(str(name), found) for name, found in mapping_at(row.descriptive, *path).items() if mapping_at(found)]


def _hundredfold(value: Any) -> float | None:
    return 100.0 * value if isinstance(value, int | float) else None


# ------------------------------------------------------------------------------- Tables 1, 5-8
def _spectrum(row: Row, key: str, place: str) -> list[Record]:
    return [
        {
            place: name,
            "d": found.get("d"),
            "r_eff": found.get("r_eff"),
            "r_over_d_pct": _hundredfold(found.get("r_eff_over_d")),
            "sigma_1": found.get("sigma_1"),
            "sigma_min": found.get("sigma_min"),
            "cond": found.get("cond"),
            "identified": found.get("identified"),
        }
        for name, found in _named(row, key)
    ]


def spectrum_of_layers(row: Row) -> list[Record]:
    """Tables 1 and 5 to 7."""
    return _spectrum(row, "table", "layer")


def spectrum_of_modules(row: Row) -> list[Record]:
    """Table 8."""
    return _spectrum(row, "collapse", "module")


# ------------------------------------------------------------------------------- Tables 9-12
def _norms(row: Row, key: str, place: str) -> list[Record]:
    readings = ("mean", "std", "min", "max", "ratio")
    return [
        {"method": row.method, place: name} | {reading: found.get(reading) for reading in readings}
        for name, found in _named(row, key)
    ]


def norms_of_layers(row: Row) -> list[Record]:
    """Tables 9 to 11."""
    return _norms(row, "by_layer", "layer")


def norms_of_modules(row: Row) -> list[Record]:
    """Table 12."""
    return _norms(row, "by_module", "module")


# ------------------------------------------------------------------------------- Tables 13-20
def cosines_of_layers(row: Row) -> list[Record]:
    """Tables 13 to 18; ``stands_for`` is the paper's k, or the share of d that it is."""
    ks = mapping_at(row.descriptive, "k")
    return [
        {
            "method": row.method,
            "layer": layer,
            "edit_step": str(t),
            "top_k": ks.get(label, label),
            "stands_for": label,
            "cos": cosine,
        }
        for layer, steps in _named(row, "cosines_by_T_and_k")
        for t, by_k in steps.items()
        for label, cosine in mapping_at(by_k).items()
    ]


def _cosines_of_modules(row: Row, parts: tuple[str, ...]) -> list[Record]:
    return [
        {
            "method": row.method,
            "module": module,
            "edit_step": "1",
            "top_k": label,
            "stands_for": label,
            "cos": found.get("cos") if isinstance(found, Mapping) else found,
        }
        for module, by_k in _named(row, "by_module")
        if module.endswith(parts)
        for label, found in by_k.items()
    ]


def cosines_of_inputs(row: Row) -> list[Record]:
    """Table 19: modules wi, and what they become behind the activation."""
    return _cosines_of_modules(row, ("wi", "act"))


def cosines_of_outputs(row: Row) -> list[Record]:
    """Table 20: modules wo."""
    return _cosines_of_modules(row, ("wo",))


# ------------------------------------------------------------------------------- Tables 21-24
def rates_of_layers(row: Row) -> list[Record]:
    """Tables 21 to 23."""
    return [
        {
            "method": row.method,
            "layer": layer,
            "r_mean": found.get("mean"),
            "r_min": found.get("min"),
            "r_max": found.get("largest"),
            "r_std": found.get("std"),
            "num_gt1": found.get("num_above_one"),
            "pct_gt1": _hundredfold(found.get("share_above_one")),
        }
        for layer, found in _named(row, "by_layer")
    ]


def rates_of_modules(row: Row) -> list[Record]:
    """Table 24."""
    records = []
    for module, found in _named(row, "by_module"):
        share, count = found.get("above_one"), found.get("identified")
        above = share * count if isinstance(share, int | float) and isinstance(count, int | float) else None
        records.append(
            {
                "method": row.method,
                "module": module,
                "r_mean": found.get("mean"),
                "r_min": found.get("min"),
                "r_max": found.get("max"),
                "r_std": found.get("std"),
                "num_gt1": above,
                "pct_gt1": _hundredfold(share),
            }
        )
    return records


# ------------------------------------------------------------------------------- Tables 2, 25-28
def _cells(row: Row) -> list[tuple[Mapping[str, Any], Any]]:
    """The cells of the family, each with the paper's statistic on our first chain where there is one."""
    cells = row.descriptive.get("cells")
    if not isinstance(cells, list):
        return []
    trends = mapping_at(row.descriptive, "single_chain").get("cells")
    beside = trends if isinstance(trends, list) and len(trends) == len(cells) else [None] * len(cells)
    return [(cell, trend) for cell, trend in zip(cells, beside, strict=True) if isinstance(cell, Mapping)]


def _correlation(row: Row, cell: Mapping[str, Any], rho: Any, p: Any) -> Record:
    summary = str(cell.get("summary"))
    known = isinstance(p, int | float)
    return {
        "summary": _SUMMARIES.get(summary, summary),
        "aggregation": cell.get("aggregation"),
        "metric": cell.get("dimension"),
        "method": row.method,
        "rho": rho,
        "stars": sum(p < level for level in (0.05, 0.01, 0.001)) if known else None,
        "p_op": "=" if known else None,
        "p": p,
    }


def trends_of_one_chain(row: Row) -> list[Record]:
    """Tables 2 and 25 to 28 as the paper has them: Spearman's rho over the steps of one chain."""
    return [
        _correlation(row, cell, mapping_at(trend).get("rho"), mapping_at(trend).get("p")) for cell, trend in _cells(row)
    ]


def associations_within_t(row: Row) -> list[Record]:
    """The same cells with the trend in T taken out; p of the permutation test, corrected by Holm."""
    return [_correlation(row, cell, cell.get("association"), cell.get("p_holm")) for cell, _ in _cells(row)]


def notes(row: Row) -> list[str]:
    """What must be known of a single chain's correlation: its steps, and the smallest p that so few can reach."""
    chain = mapping_at(row.descriptive, "single_chain")
    steps, smallest = chain.get("T"), chain.get("smallest_p")
    made = [f"first chain at T = {', '.join(map(str, steps))}"] if isinstance(steps, list) and steps else []
    if isinstance(smallest, int | float):
        made.append(f"smallest p that so many steps can reach {smallest:.2g}")
    return made


# ------------------------------------------------------------------------------- Figures 2, 6
def curves_along_chains(row: Row) -> list[Record]:
    """What can be read off the curves of Figures 2 and 6, per layer and T; means over chains."""
    readings = ("first_tenth", "median", "last_tenth", "max")
    return [
        {"method": row.method, "layer": layer, "curve": curve}
        | {reading: mapping_at(found).get(reading) for reading in readings}
        | {"pct_gt1": _hundredfold(mapping_at(found).get("share_above_one"))}
        for layer, curves in _named(row, "directions")
        for curve, found in curves.items()
    ]
