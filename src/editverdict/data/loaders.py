"""Loading editing data: our own dataset, or a user's file, through one entry."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from editverdict.data.errors import DataError
from editverdict.data.events import tendency_questions
from editverdict.data.kinds import PROBE_KINDS
from editverdict.data.records import EditRecord
from editverdict.data.shapes import GENERIC_FIELDS, convert, detect_shape
from editverdict.data.sources import dataset_files
from editverdict.data.validate import validate_edits
from editverdict.data.worldfacts import build_worldfacts
from editverdict.schema.specs import DatasetSpec

Format = Literal["auto", "jsonl", "knowedit", "counterfact", "elken"]

_SHOWN = 20
_EXAMPLE = '{"prompt": "The capital of France is", "subject": "France", "target_new": "Rome"}'


@dataclass(frozen=True)
class LoadedEdits:
    """The usable records of a dataset, and what was wrong with the rest."""

    records: tuple[EditRecord, ...]
    problems: tuple[str, ...] = ()
    """One line per record that is left out or field that is ignored, with file and position."""
    skipped: int = 0
    """Number of records that are left out, each with a line in ``problems``."""
    warnings: tuple[str, ...] = ()
    """What the validator finds in the records that are left: reasons not to chain them."""
    notes: tuple[str, ...] = ()
    """What is left out on purpose, counted."""

    @property
    def lacking(self) -> dict[str, int]:
        """Number of usable records that lack each kind of probe; ``rephrase``: also those where an alias stands in."""
        return {kind: sum(kind in record.lacks for record in self.records) for kind in PROBE_KINDS}

    def summary(self) -> dict[str, Any]:
        """Counts of what was read, and the first problems, as JSON values for a run's manifest."""
        return {
            "records": len(self.records),
            "left_out": self.skipped,
            "problems": list(self.problems[:_SHOWN]),
            "notes": list(self.notes),
            "lacking": self.lacking,
            "rephrases_from_aliases": sum(record.alias_rephrases for record in self.records),
        }


def load_dataset(spec: DatasetSpec, path: Path | None = None, *, cache: Path | None = None) -> LoadedEdits:
    """Load the editing data that a spec names.

    Parameters
    ----------
    spec
        ``worldfacts`` is built by code; any other format is read from ``spec.source``.
    path
        A file, or a folder of files, to read instead of the spec's source.
    cache
        Cache folder for packaged files and web addresses, see :func:`editverdict.data.sources.dataset_files`.

    Raises
    ------
    DataError
        When there is nothing to read, a file is not what its format says, a file cannot be fetched, or there are fewer
        records than ``size``.
    PackageFetchError
        When a packaged file cannot be had.
    """
    if spec.format == "worldfacts":
        records = build_worldfacts(spec.seed)
        findings = _findings_of_worldfacts(spec.seed)
        if findings:
            raise DataError(
                f"dataset {spec.id!r}, seed {spec.seed}: the installed packages do not give a sound dataset:\n  "
                + "\n  ".join(findings[:_SHOWN])
                + "\n  Install the versions of constraints.txt, or take another seed."
            )
        return LoadedEdits(tuple(_first(records, spec)))
    loaded = load_files(dataset_files(spec, path, cache), spec.format)
    records = _first(loaded.records, spec)
    return LoadedEdits(tuple(records), loaded.problems, loaded.skipped, tuple(validate_edits(records)), loaded.notes)


@lru_cache(maxsize=4)
def _findings_of_worldfacts(seed: int) -> tuple[str, ...]:
    """What is wrong with the dataset of a seed; found once per process, as the dataset is built once."""
    return tuple(validate_edits(build_worldfacts(seed)))


def load_edits(path: Path, format: Format = "auto") -> LoadedEdits:
    """Read edits from one file, see `load_files`."""
    return load_files([path], format)


def load_files(paths: Sequence[Path], format: Format = "auto") -> LoadedEdits:
    """Read edits from files, each with one JSON object per line, or one JSON array.

    The shapes are those of :mod:`editverdict.data.shapes`; with ``auto`` each record's shape is recognised by itself.

    Returns
    -------
    LoadedEdits
        Records in file order. A record that cannot be used is in ``problems``, with its file and line or index.

    Raises
    ------
    DataError
        When a file is missing, empty, not JSON (all bad lines are named), or no record of any file is usable.
    """
    read = _Reading(format)
    for path in paths:
        for number, (position, item) in enumerate(_read_items(path)):
            read.take(path, number, position, item)
    if not read.records:
        raise DataError(
            f"{', '.join(map(str, paths))}: none of {read.skipped} records can be used (format {format!r}):\n  "
            + _shown(read.problems)
            + f"\n  Expected objects like {_EXAMPLE}; see the documentation of editverdict.data.shapes."
        )
    notes = [f"{read.tendencies} questions about tendencies are left out"] if read.tendencies else []
    return LoadedEdits(tuple(read.records), tuple(read.problems), read.skipped, notes=tuple(notes))


class _Reading:
    """Records as they are read, over one or more files whose ids must differ."""

    def __init__(self, format: Format) -> None:
        self.format = format
        self.records: list[EditRecord] = []
        self.problems: list[str] = []
        self.skipped = 0
        self.tendencies = 0
        self._ids: dict[str, str] = {}

    def take(self, path: Path, number: int, position: str, item: Any) -> None:
        """Keep one object as a record, or say what is wrong with it."""
        where = f"{path}, {position}"
        try:
            if not isinstance(item, dict):
                raise DataError(f"expected an object like {_EXAMPLE}, found {type(item).__name__}")
            shape = detect_shape(item) if self.format == "auto" else self.format
            record = convert(item, shape, f"{path.stem}-{number:05d}", f"{path.name}, {position}")
            _check(record, self._ids)
        except DataError as error:
            self.problems.append(f"{where}: left out: {error}")
            self.skipped += 1
            return
        self._ids[record.id] = f"{path.name}, {position}"
        self.problems += [f"{where}: {text}" for text in _ignored_fields(item, shape)]
        self.tendencies += tendency_questions(item) if shape == "elken" else 0
        self.records.append(record)


# ------------------------------------------------------------------------------------------------------ records
def _check(record: EditRecord, ids: dict[str, str]) -> None:
    if not record.bare_event and record.subject not in record.prompt:
        raise DataError(
            f"the prompt does not contain the subject {record.subject!r}: {record.prompt!r}; "
            "editors find the subject's tokens in the prompt, so spell it there as in 'subject'"
        )
    if record.id in ids:
        raise DataError(f"the id {record.id!r} is that of {ids[record.id]} too; ids must be unique")


def _ignored_fields(item: dict[str, Any], shape: str) -> list[str]:
    if shape != "jsonl":
        return []
    texts = []
    for name in sorted(set(item) - GENERIC_FIELDS):
        near = difflib.get_close_matches(name, sorted(GENERIC_FIELDS), n=1)
        texts.append(f"unknown field {name!r} is ignored" + (f"; did you mean {near[0]!r}?" if near else ""))
    return texts


def _first(records: Iterable[EditRecord], spec: DatasetSpec) -> list[EditRecord]:
    found = list(records)
    if spec.size is not None and len(found) < spec.size:
        raise DataError(f"dataset {spec.id!r}: 'size' asks for {spec.size} records, found {len(found)}; lower 'size'")
    return found if spec.size is None else found[: spec.size]


# ------------------------------------------------------------------------------------------------------ files
def _read_items(path: Path) -> list[tuple[str, Any]]:
    """Return (position, object) pairs of an array or of lines."""
    text = _read_text(path)
    if text.lstrip().startswith("["):
        try:
            array = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {error.lineno}: not JSON ({error.msg}, column {error.colno}); "
                "the file begins with '[', so a JSON array was expected. For one object per line, remove the bracket."
            ) from None
        items = [(f"index {index}", item) for index, item in enumerate(array)]
    else:
        items = _read_lines(path, text)
    if not items:
        raise DataError(f"{path}: holds no record; expected objects like {_EXAMPLE}")
    return items


def _read_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _siblings(path), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{path}: no such file{hint}") from None
    except IsADirectoryError:
        raise DataError(
            f"{path}: is a folder; expected a file with one JSON object per line, or a JSON array"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); convert it to UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if not text.strip():
        raise DataError(f"{path}: is empty; expected one JSON object per line, like {_EXAMPLE}")
    return text


def _siblings(path: Path) -> list[str]:
    return [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []


def _read_lines(path: Path, text: str) -> list[tuple[str, Any]]:
    items, wrong = [], []
    # Not splitlines(): JSON strings may hold U+2028 and its like.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            items.append((f"line {number}", json.loads(line)))
        except json.JSONDecodeError as error:
            wrong.append(f"line {number}: {error.msg} (column {error.colno}), found {line.strip()[:60]!r}")
    if wrong:
        raise DataError(
            f"{path}: {len(wrong)} line(s) are not JSON:\n  {_shown(wrong)}\n  Expected one object per line, like "
            f"{_EXAMPLE}. An object that spans lines must be put on one line, or the file be a JSON array."
        )
    return items


def _shown(lines: list[str]) -> str:
    more = f"\n  ... and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "\n  ".join(lines[:_SHOWN]) + more
