"""Any field of any shape replaced by anything: the record is used, or counted, named and left out; nothing breaks."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from editverdict.data import load_edits
from editverdict.data.loaders import Format
from suites.selftest.data.test_events import EVENT
from suites.selftest.data.test_loaders import COUNTERFACT, GENERIC, KNOWEDIT, ORIGINAL

FACTS = {"prompt": "S is in", "answers": ["B"], "kind": "same-relation", "facts": [{"subject": "S", "relation": "in"}]}
SHAPES: dict[str, tuple[Format, dict[str, Any]]] = {
    "generic": ("jsonl", GENERIC | {"locality": [FACTS], "relation": "in", "split": "tune", "lacks": [], "id": "x"}),
    "event": ("jsonl", {"event": "A left B.", "subject": "A", "portability": [FACTS]}),
    "knowedit": ("knowedit", KNOWEDIT),
    "counterfact": ("counterfact", COUNTERFACT),
    "original": ("counterfact", ORIGINAL),
    "elken": ("elken", EVENT),
}
ANYTHING: tuple[Any, ...] = (
    None,
    3,
    2.5,
    True,
    "",
    " ",
    "text",
    [],
    {},
    [[]],
    [{}],
    [None],
    ["a"],
    {"a": 1},
    [[["a"]]],
)


def paths(item: Any, so_far: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every value in a nested object."""
    if so_far:
        yield so_far
    steps = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    for step, value in steps:
        yield from paths(value, (*so_far, step))


def spoilt(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in paths(item):
        for value in (..., *ANYTHING):
            other: Any = copy.deepcopy(item)
            place = other
            for step in path[:-1]:
                place = place[step]
            if value is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = copy.deepcopy(value)
            yield other


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_record_is_used_or_named(tmp_path: Path, shape: str, named: bool) -> None:
    format, item = SHAPES[shape]
    items = list(spoilt(item))
    for number, other in enumerate(items):
        for name in ("id", "case_id"):  # ids that repeat are another matter
            if isinstance(other.get(name), str | int):
                other[name] = f"{number}"
    path = tmp_path / "bad.jsonl"
    good = json.dumps({"id": "good", "prompt": "A is", "subject": "A", "target_new": "B"})
    path.write_text("\n".join([good, *map(json.dumps, items)]), encoding="utf-8")
    loaded = load_edits(path, format if named else "auto")
    assert len(loaded.records) + loaded.skipped == len(items) + 1 > 100
    left_out = [text for text in loaded.problems if ": left out: " in text]
    assert len(left_out) == loaded.skipped > 10
    assert len({text.split(": left out: ")[0] for text in left_out}) == loaded.skipped
    for record in loaded.records:
        assert record.split in ("tune", "test")
        assert record.bare_event or (record.subject and record.subject in record.prompt and record.target_new)
        assert all(
            p.prompt.strip() and all(a.strip() for a in p.answers) for p in (*record.locality, *record.portability)
        )
