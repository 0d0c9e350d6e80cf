"""The table of methods as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Z95 = 1.959963984540054
"""Normal quantile of a two-sided 95% interval."""
SCORES = (
    ("rel", "Rel"),
    ("gen", "Gen"),
    ("loc", "Loc"),
    ("loc_eq4", "Loc (Eq. 4)"),
    ("port", "Port"),
    ("avg", "Avg"),
    ("efficacy", "efficacy"),
    ("paraphrase", "paraphrase"),
    ("specificity", "specificity"),
)
COSTS = (
    ("cpu_seconds", "CPU s/edit", ".1f"),
    ("preparation_seconds", "once, CPU s", ".0f"),
    ("peak_mib", "peak MiB", ".0f"),
    ("kib_per_edit", "KiB/edit", ".0f"),
)

LEGEND = (
    "- **own success**: the method's own protocol, the most probable tokens of the prompt, bare (in the template where "
    "the profile has `edit_form: question`), are the new object's (teacher-forced argmax), with Wilson's "
    "95% interval. Everything else is asked of generated answers (docs/decisions.md); of a chain after its "
    "last edit, on all its edits.",
    "- **efficacy, paraphrase, specificity**: the new object is more probable than the old one (for specificity: less) "
    "after the prompt, its rephrases, and prompts of other facts.",
    "- **CPU s/edit**: without what is made once for all edits (**once**: covariances, null spaces, networks; booked "
    "where it was made). Values that several methods start from are booked at what they took.",
    "- **peak MiB**: largest growth of the process while editing; the model itself is not in it.",
)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share (Wilson 1927)."""
    if n <= 0:
        raise ValueError(f"a share needs at least one trial, found {n}")
    share, z2 = successes / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def methods_markdown(manifest: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], failed: Mapping[str, str]) -> str:
    """What the table stands on (the manifest), the table, and what is missing from it."""
    heads = ["method", "edits", "own success [95%]", *(h for _, h in SCORES), *(h for _, h, _ in COSTS)]
    text = ["# Methods on one model", "", *stands_on(manifest), "", row(heads), row(["---"] * len(heads))]
    text += [_line(line) for line in lines]
    text += ["", *LEGEND, *_trained(lines)]
    if failed:
        text += ["", "Not in the table:", *(f"- {name}: {why}" for name, why in failed.items())]
    return "\n".join(text) + "\n"


def _trained(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What methods that are trained first reached on facts held out of the training."""
    found = {line["method"]: line["held_out"] for line in lines if line.get("held_out")}
    return [
        f"- {method}, facts held out of its training ({held['edits']} of the split `tune`): success "
        f"{held['success']:.2f} on the prompts"
        + ("." if held["rephrases"] is None else f", {held['rephrases']:.2f} on their rephrases.")
        for method, held in found.items()
    ]


def stands_on(made: Mapping[str, Any]) -> list[str]:
    """Two sentences on what a table was made with, from its manifest."""
    hardware = made["hardware"]
    changed = " (with changes)" if made["dirty"] else ""
    protocol = (made.get("protocols") or {}).get(made["models"][0]) or made["protocol"]  # its own, where it has one
    return [
        f"Model `{made['models'][0]}`, data `{made['datasets'][0]}` (split `test`), profile `{made['profile']}`, "
        f"judge `{made['judge']}`, protocol `{protocol['id']}`, seed {made['seed']}.",
        f"editverdict {made['editverdict']}, commit {made['commit']}{changed}, torch {made['packages']['torch']}, "
        f"{hardware['processor']}, {hardware['threads_per_process']} thread per process, {made['created']}.",
    ]


def _line(line: Mapping[str, Any]) -> str:
    low, high = wilson(line["success"], line["asked"])
    success = f"{line['success'] / line['asked']:.2f} [{low:.2f}, {high:.2f}]"
    schedule = {"single": f"{line['edits']} × 1", "": "0"}.get(line["schedule"], f"chain of {line['schedule']}")
    scores = ["–" if line.get(name) is None else f"{line[name]:.2f}" for name, _ in SCORES]
    costs = ["–" if line.get(name) is None else format(line[name], form) for name, _, form in COSTS]
    return row([line["method"], schedule, success, *scores, *costs])


def row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"
