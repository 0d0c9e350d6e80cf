"""The ledger: what a run built, what it found ready, and how long the building took.

Every event is one line of JSON, appended in one write, so several processes may share a file. Counts are of distinct
artifacts: one that was built anywhere in the run counts as built, however often it was asked for afterwards; ``reused``
are those that the run found ready.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

EventName = Literal["built", "reused", "failed", "damaged"]

_LOG = logging.getLogger("editverdict.store")


@dataclass(frozen=True)
class Event:
    """One thing that happened to one artifact."""

    event: EventName
    kind: str
    key: str
    stage: str
    seconds: float
    """Time spent producing it, without that of other artifacts produced on the way; 0 if nothing was produced."""
    time: float
    """Seconds since the epoch."""
    pid: int


@dataclass(frozen=True)
class Counts:
    """Number of artifacts per outcome, and the seconds spent producing them."""

    built: int = 0
    reused: int = 0
    failed: int = 0
    damaged: int = 0
    seconds: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.built + other.built,
            self.reused + other.reused,
            self.failed + other.failed,
            self.damaged + other.damaged,
            self.seconds + other.seconds,
        )


class Ledger:
    """Events of one process, or of several when read back from their files.

    Parameters
    ----------
    path : Path, optional
        A file of JSON lines to append every event to.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._events: list[Event] = []
        self._delivered: set[str] = set()
        self._guard = threading.Lock()

    @classmethod
    def read(cls, *paths: Path) -> Ledger:
        """The ledger of all workers whose event files these are.

        A missing file is an empty one; a torn line is left out.
        """
        ledger = cls()
        for path in paths:
            if path.is_file():
                ledger._events.extend(_parse(path))
        ledger._events.sort(key=lambda event: event.time)
        return ledger

    def record(self, event: EventName, kind: str, key: str, stage: str = "", seconds: float = 0.0) -> None:
        """Note an event; of one artifact's deliveries (built, reused) only the first and any building are noted."""
        with self._guard:
            if event == "reused" and key in self._delivered:
                return
            if event in ("built", "reused"):
                self._delivered.add(key)
            entry = Event(event, kind, key, stage, round(seconds, 6), time.time(), os.getpid())
            self._events.append(entry)
        if self._path is not None:
            _append(self._path, json.dumps(asdict(entry)))

    @property
    def events(self) -> tuple[Event, ...]:
        """All events, oldest first."""
        with self._guard:
            return tuple(self._events)

    def snapshot(self) -> dict[str, Counts]:
        """Counts per kind of artifact."""
        return _total((kind, counts) for (_, kind), counts in self._cells().items())

    def stages(self) -> dict[str, Counts]:
        """Counts per stage, in the order in which the stages began; ``""`` is what happened outside any stage."""
        return _total((stage, counts) for (stage, _), counts in self._cells().items())

    def table(self) -> dict[tuple[str, str], Counts]:
        """Counts per (stage, kind), in the order in which they first occurred."""
        return self._cells()

    def _cells(self) -> dict[tuple[str, str], Counts]:
        events = self.events
        # An artifact belongs to the stage that built it, else to the first that used it.
        home: dict[str, Event] = {}
        for event in events:
            if event.event == "built" or (event.event == "reused" and event.key not in home):
                home[event.key] = event
        cells = {(event.stage, event.kind): Counts() for event in events}
        for event in home.values():
            cells[event.stage, event.kind] += Counts(built=1) if event.event == "built" else Counts(reused=1)
        for event in events:
            cells[event.stage, event.kind] += Counts(
                failed=event.event == "failed", damaged=event.event == "damaged", seconds=event.seconds
            )
        return {cell: counts for cell, counts in cells.items() if counts != Counts()}


def _total(cells: Iterable[tuple[str, Counts]]) -> dict[str, Counts]:
    totals: dict[str, Counts] = {}
    for name, counts in cells:
        totals[name] = totals.get(name, Counts()) + counts
    return totals


def _append(path: Path, line: str) -> None:
    """Append a line in one write (O_APPEND: writers do not tear each other's lines on a local disk)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, (line + "\n").encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        # Book-keeping must not stop the work; the counts in memory stay right.
        _LOG.warning("cannot append to the event file %s: %s", path, error)


def _parse(path: Path) -> list[Event]:
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            if not isinstance(entry, Mapping):
                continue
            events.append(Event(**entry))
        except (ValueError, TypeError):
            continue  # torn by a power cut, or of another version
    return events
