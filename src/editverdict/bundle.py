"""The files that a run needs beside the library: specs, suites, fixtures, plugins, report assets."""

from __future__ import annotations

import shutil
from pathlib import Path

PARTS = (
    "conftest.py",
    "specs",
    "suites/hypotheses",
    "suites/benchmark",
    "suites/consistency",
    "fixtures",
    "plugins",
    "reports",
)
"""What `editverdict init` unfolds."""
PYTEST_INI = """\
[pytest]
addopts = --strict-markers --import-mode=importlib -p no:cacheprovider
pythonpath = .
testpaths = suites/hypotheses suites/benchmark
"""


class InitError(ValueError):
    """The folder cannot take the files."""


def root() -> Path:
    """The folder that holds conftest.py and specs/: inside an installed wheel, or the checkout."""
    inside = Path(__file__).parent / "_bundle"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2]


def unfold(target: Path) -> list[Path]:
    """Copy the parts into a folder; nothing that is there is overwritten.

    Raises
    ------
    InitError
        A part is already there, or the target is a file.
    """
    if target.exists() and not target.is_dir():
        raise InitError(f"'{target}' is a file; nothing was changed. Name a folder that is empty or not there yet.")
    present = [part for part in (*PARTS, "pytest.ini") if (target / part).exists()]
    if present:
        raise InitError(f"'{target}' already has {', '.join(present)}; nothing was changed. Name an empty folder.")
    source = root()
    made = []
    for part in PARTS:
        origin, goal = source / part, target / part
        goal.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, goal, ignore=shutil.ignore_patterns("__pycache__", "out", "node_modules"))
        else:
            shutil.copy2(origin, goal)
        made.append(goal)
    (target / "pytest.ini").write_text(PYTEST_INI)
    return [*made, target / "pytest.ini"]
