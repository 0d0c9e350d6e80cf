"""Every printed number of every table is looked up in the paper's text, at its place: a wrong digit in a CSV shows."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TABLES = ROOT / "specs" / "paper" / "tables"
ROWS = {29: "method", 30: "method", 35: "method", 36: "method"}
"""Tables of which one printed row is many lines of the file, apart: the key that tells printed rows apart."""
KEYS = {
    "model", "layer", "module", "summary", "aggregation", "metric", "method", "dataset", "setting", "category",
    "citation", "edit_step", "top_k", "n_edits", "logp_group", "failure_mode", "prompt", "l2", "memory_size",
}  # fmt: skip
SIGNS = {"✓": "true", "✗": "false", "-": "", "–": ""}


def plain(cell: str) -> str:
    """A printed cell as the CSV files write it."""
    text = re.sub(r"</?[a-z]+>", "", cell).strip()
    text = re.sub(r"×10\^\{?(-?\d+)\}?", r"e\1", text)
    return SIGNS.get(text, text)


def is_value(cell: str) -> bool:
    return cell in ("", "true", "false") or re.fullmatch(r"-?\d.*", cell) is not None


def cells_of_file(path: Path, number: int) -> list[list[str]]:
    """Value cells of a CSV file as printed rows; a cell of a correlation as ``rho*** (p)``."""
    with path.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    rows: dict[str, list[str]] = {}
    for place, line in enumerate(lines):
        row = line[ROWS[number]] if number in ROWS else str(place)
        if "rho" in line:
            p = f"< {line['p']}" if line["p_op"] == "<" else line["p"]
            values = [f"{line['rho']}{'*' * int(line['stars'])} ({p})"]
        else:
            values = [value for name, value in line.items() if name not in KEYS]
        rows.setdefault(row, []).extend(values)
    return list(rows.values())


def cells_of_text(lines: list[str], start: int, rows: int, width: int, words: bool = False) -> list[list[str]]:
    """The last ``width`` cells of the first ``rows`` rows of values after a line of the text (counted from 1)."""
    found: list[list[str]] = []
    for line in lines[start - 1 :]:
        cells = [plain(cell) for cell in line.split("\t")]
        fits = len(cells) > width and any(cells[-width:]) and all(words or is_value(cell) for cell in cells[-width:])
        if fits and not (words and not found and cells[0] == "Failure Mode"):
            found.append(cells[-width:])
        if len(found) == rows:
            break
    return found


def mismatches(file: list[list[str]], text: list[list[str]]) -> list[str]:
    """Where the two differ, cell after cell in printed order."""
    ours, theirs = ([cell for row in side for cell in row] for side in (file, text))
    if len(ours) != len(theirs):
        return [f"{len(ours)} cells in the file, {len(theirs)} in the text"]
    return [f"cell {n}: file {a!r}, text {b!r}" for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]


def index(shared: Callable[..., Path]) -> dict[int, dict[str, str]]:
    with shared("paper", "tables", "index.csv").open(encoding="utf-8", newline="") as stream:
        return {int(line["table"]): line for line in csv.DictReader(stream)}


@pytest.mark.parametrize("number", range(1, 47))
def test_table_is_what_the_text_prints(number: int, shared: Callable[..., Path]) -> None:
    entry = index(shared)[number]
    lines = shared("paper", "paper.txt").read_text(encoding="utf-8").splitlines()
    assert lines[int(entry["source_line"]) - 1].strip().startswith(f"Table {number}.")
    file = cells_of_file(TABLES / f"table_{number:02d}.csv", number)
    printed_rows = int(entry["printed_rows"])
    total = sum(len(row) for row in file)
    assert total % printed_rows == 0
    text = cells_of_text(lines, int(entry["source_line"]), printed_rows, total // printed_rows, words=number == 39)
    assert mismatches(file, text) == []


def test_underlined_cells_are_what_the_text_underlines(shared: Callable[..., Path]) -> None:
    with (TABLES / "underlined_cells.csv").open(encoding="utf-8", newline="") as stream:
        listed = list(csv.DictReader(stream))
    lines = shared("paper", "paper.txt").read_text(encoding="utf-8").splitlines()
    entries = index(shared)
    for number in sorted({int(line["table"]) for line in listed}):
        start, stop = (int(entries[n]["source_line"]) for n in (number, number + 1))
        if stop < start:
            stop = start + 40
        marked = re.findall(r"<u>([\d.]+)</u>", "\n".join(lines[start - 1 : stop - 1]))
        assert sorted(marked) == sorted(line["value"] for line in listed if int(line["table"]) == number), number


TEXT = ["Table 9. Norms.", "", "Method\tLayer\tmean\tmax", "ROME\t5\t1.24\t3.38×10^{-6}", "\t10\t<u>-</u>\t1.57×10^3"]


def test_a_wrong_digit_is_found() -> None:
    text = cells_of_text(TEXT, 1, 2, 2)
    assert text == [["1.24", "3.38e-6"], ["", "1.57e3"]]
    assert mismatches([["1.24", "3.38e-6"], ["", "1.57e3"]], text) == []
    assert mismatches([["1.24", "3.39e-6"], ["", "1.57e3"]], text) == ["cell 1: file '3.39e-6', text '3.38e-6'"]
    assert mismatches([["3.38e-6", "1.24"], ["", "1.57e3"]], text)
    assert mismatches([["1.24", "3.38e-6"]], text)
