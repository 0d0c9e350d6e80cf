"""xdist scheduling: all tests of one subject go to one worker, longest first, and a dead worker costs one test.

Why not one of xdist's own modes (3.8.0, pytest 9.2.0):

- a session-scoped fixture lives once per *worker*, and building an edited model takes minutes; ``load`` and
  ``loadscope`` spread the tests of one model and build it on every worker;
- ``loadgroup`` would express it, but has stopped grouping on pytest 9.2 without an error (pytest-xdist #1386);
- ``loadscope`` sends the test that killed a worker to the next one until ``--max-worker-restart`` is spent (PR
  #1371), and can wait for ever on finished units that it queued again (#1378, #1327).

This scheduler stands on xdist's public protocol of a scheduler alone (a worker is told indices, and told to stop), so
it does not depend on the private parts of another one. suites/selftest/plugins guards it with real workers.

Timed claims (``suites/benchmark/test_efficiency.py``) are one unit, whatever their subjects, sent before those of the
methods: times are measured one at a time on a machine, so workers that came to them together would wait for each other.

The rules over the paper's tables (``suites/consistency``) take no model and seconds in all: each is a unit of its own,
sent when all cases are, so that they fill what is left of the time and hold up nobody.

It takes over only where the collection holds cases of ``suites/hypotheses`` or ``suites/benchmark``; every other
session is left to the mode that ``--dist`` names. ``--dist each`` is left alone always.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from plugins.devices import auto_workers
from plugins.units import SUITES, group_of, is_case, ordered_units

_DELEGATING = pytest.StashKey[bool]()


# --------------------------------------------------------------------------- the scheduler
class SubjectScheduling:
    """One work unit per subject; survives killed workers.

    A worker starts a test only when it knows the next one (or that there is none), so each is kept two tests ahead, and
    is told to stop as soon as nothing is left to send.

    Parameters
    ----------
    config : pytest.Config
        The controller's.
    numnodes : int
        Workers expected to collect before the first test is sent.
    durations : Mapping[str, float]
        Seconds per node id, as far as known.
    """

    def __init__(self, config: pytest.Config, numnodes: int, durations: Mapping[str, float]) -> None:
        self.config = config
        self.numnodes = numnodes
        self.durations = durations
        self.collection: list[str] | None = None
        self._collected: dict[Any, list[str]] = {}
        self._assigned: dict[Any, list[int]] = {}  # per worker: tests sent and not finished, in the order of running
        self._waiting: deque[list[int]] = deque()

    # -- what the session asks
    @property
    def nodes(self) -> list[Any]:
        """Workers that are up."""
        return list(self._assigned)

    @property
    def collection_is_completed(self) -> bool:
        """Whether the first tests may be (or have been) sent."""
        return self.collection is not None or len(self._collected) >= self.numnodes

    @property
    def tests_finished(self) -> bool:
        """Whether only tests are left that run as soon as their workers are told to stop."""
        if not self.collection_is_completed or self._waiting:
            return False
        return all(len(tests) < 2 for tests in self._assigned.values())

    @property
    def has_pending(self) -> bool:
        """Whether any test is not finished."""
        return bool(self._waiting) or any(self._assigned.values())

    # -- what the session tells
    def add_node(self, node: Any) -> None:
        """Take note of a worker that came up."""
        self._assigned[node] = []

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """Take note of what a worker collected; a replacement that collected something else is sent home."""
        if self.collection is not None and list(collection) != self.collection:
            self._complain(node, self.collection, list(collection))
            node.shutdown()
            return
        self._collected[node] = list(collection)

    def schedule(self) -> None:
        """Send the first tests; called again for each replacement of a worker."""
        if self.collection is None:
            self._start()
        for node in self.nodes:
            self._feed(node)

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """Strike a finished test out and send more."""
        self._assigned[node].remove(item_index)
        self._feed(node)

    def mark_test_pending(self, item: str) -> None:
        """Refuse: a test that killed its worker is never run again."""
        # xdist's protocol for a scheduler that does not re-run: it expects this very exception.
        raise NotImplementedError("a test that killed its worker is not run again")

    def remove_pending_tests_from_node(self, node: Any, indices: Sequence[int]) -> None:
        """Refuse: nothing is stolen from workers."""
        # Likewise part of the protocol; only work-stealing schedulers take tests back.
        raise NotImplementedError("tests are not taken from a worker that has them")

    def remove_node(self, node: Any) -> str | None:
        """Forget a worker; if it died, name the test it died of and hand the rest of its tests on."""
        pending = self._assigned.pop(node)
        self._collected.pop(node, None)
        if not pending:
            return None
        assert self.collection is not None
        killer, rest = pending[0], pending[1:]
        units: dict[str, list[int]] = {}
        for index in rest:
            units.setdefault(group_of(self.collection[index]), []).append(index)
        # To the front: the longest units were sent first, and these were among them.
        self._waiting.extendleft(reversed(units.values()))
        for other in self.nodes:
            self._feed(other)
        return self.collection[killer]

    # -- how
    def _start(self) -> None:
        first, collection = next(iter(self._collected.items()))
        for node, other in self._collected.items():
            if other != collection:
                self._complain(node, collection, other, first)
                self.collection = []  # nothing is sent, and the session ends
                return
        self.collection = collection
        self._waiting.extend(ordered_units(collection, self.durations))
        # One unit each before anyone gets a second.
        for node in self.nodes:
            if self._waiting and node in self._collected:
                self._send(node)

    def _feed(self, node: Any) -> None:
        if node.shutting_down or node not in self._collected:
            return
        while self._waiting and len(self._assigned[node]) < 2:
            self._send(node)
        if not self._waiting and len(self._assigned[node]) < 2:
            node.shutdown()

    def _send(self, node: Any) -> None:
        unit = self._waiting.popleft()
        self._assigned[node].extend(unit)
        node.send_runtest_some(unit)

    def _complain(self, node: Any, expected: list[str], found: list[str], other: Any = None) -> None:
        """Report that two workers collected different tests, naming the first difference."""
        position = next((i for i, pair in enumerate(zip(expected, found, strict=False)) if pair[0] != pair[1]), None)
        if position is None:
            position = min(len(expected), len(found))
        pair = [names[position] if position < len(names) else "(nothing)" for names in (expected, found)]
        reference = "the first workers" if other is None else other.gateway.id
        message = (
            f"worker {node.gateway.id} collected other tests than {reference}: at position {position} {pair[1]} "
            f"instead of {pair[0]}. Parameters must not depend on sets, random numbers or the time."
        )
        report = pytest.CollectReport(nodeid=node.gateway.id, outcome="failed", longrepr=message, result=[])
        self.config.hook.pytest_collectreport(report=report)


class DeferredScheduling:
    """Chooses the scheduler when the first worker has collected, for only then the node ids are known."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        self.config = config
        self.log = log
        self._early: list[Any] = []
        self._chosen: Any = None

    def _choose(self, collection: Sequence[str]) -> None:
        if any(is_case(nodeid) for nodeid in collection):
            from xdist.workermanage import parse_tx_spec_config  # type: ignore[import-untyped,unused-ignore]

            durations = read_durations(durations_path(self.config))
            self._chosen = SubjectScheduling(self.config, len(parse_tx_spec_config(self.config)), durations)
        else:
            self.config.stash[_DELEGATING] = True
            self._chosen = self.config.hook.pytest_xdist_make_scheduler(config=self.config, log=self.log)
        for node in self._early:
            self._chosen.add_node(node)

    @property
    def nodes(self) -> list[Any]:
        """Workers that are up."""
        return list(self._early) if self._chosen is None else list(self._chosen.nodes)

    @property
    def collection_is_completed(self) -> bool:
        """Whether the first tests may be (or have been) sent."""
        return self._chosen is not None and bool(self._chosen.collection_is_completed)

    @property
    def tests_finished(self) -> bool:
        """Whether the session may end."""
        return self._chosen is not None and bool(self._chosen.tests_finished)

    @property
    def has_pending(self) -> bool:
        """Whether any test is not finished."""
        return self._chosen is not None and bool(self._chosen.has_pending)

    def add_node(self, node: Any) -> None:
        """Take note of a worker that came up."""
        if self._chosen is None:
            self._early.append(node)
        else:
            self._chosen.add_node(node)

    def remove_node(self, node: Any) -> str | None:
        """Forget a worker; KeyError (which the session expects) if it never was ready."""
        if self._chosen is not None:
            crashed: str | None = self._chosen.remove_node(node)
            return crashed
        if node not in self._early:
            raise KeyError(node)
        self._early.remove(node)
        return None

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """Choose on the first collection, then pass on."""
        if self._chosen is None:
            self._choose(collection)
        self._chosen.add_node_collection(node, collection)

    def schedule(self) -> None:
        """Pass on."""
        self._chosen.schedule()

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """Pass on."""
        self._chosen.mark_test_complete(node, item_index, duration)

    def mark_test_pending(self, item: str) -> None:
        """Pass on."""
        self._chosen.mark_test_pending(item)

    def remove_pending_tests_from_node(self, node: Any, indices: Sequence[int]) -> None:
        """Pass on."""
        self._chosen.remove_pending_tests_from_node(node, indices)


# --------------------------------------------------------------------------- durations
def durations_path(config: pytest.Config) -> Path | None:
    """File of recorded durations: ``--case-durations``, else the ini key ``case_durations``, else None."""
    given = config.getoption("--case-durations", default=None)
    if given:
        return Path(config.invocation_params.dir, given)
    stated = config.getini("case_durations")
    return Path(config.rootpath, stated) if stated else None


def read_durations(path: Path | None) -> dict[str, float]:
    """Seconds per node id; empty without a file, and with a warning if it cannot be read (only the order suffers)."""
    if path is None or not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(nodeid): max(0.0, float(seconds)) for nodeid, seconds in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        warnings.warn(f"{path}: expected a JSON object of node id -> seconds ({error}); not used", stacklevel=2)
        return {}


class DurationRecorder:
    """Adds up what each case took, for the next session's order (in the controller, or a session without xdist)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add set-up, call and teardown."""
        if is_case(report.nodeid):
            self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        """Write known and new durations, by rename, so that a reader never sees half a file."""
        if not self.seconds:
            return
        rounded = {nodeid: round(seconds, 3) for nodeid, seconds in self.seconds.items()}
        content = json.dumps({**read_durations(self.path), **rounded}, indent=0, sort_keys=True)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(content + "\n", encoding="utf-8")
            draft.replace(self.path)
        except OSError as error:
            warnings.warn(f"{self.path}: durations were not kept ({error})", stacklevel=2)


# --------------------------------------------------------------------------- hooks
def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare where durations are kept."""
    text = "JSON file of seconds per case: read to send the longest subjects first, updated at the end"
    parser.getgroup("editverdict").addoption("--case-durations", metavar="FILE", default=None, help=text)
    parser.addini("case_durations", text, type="string", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Record durations where a file is named for them."""
    path = durations_path(config)
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(DurationRecorder(path), "editverdict-durations")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> DeferredScheduling | None:
    """Put the choice off until the collection is known; None (xdist's own) for ``--dist each``."""
    if config.stash.get(_DELEGATING, False) or config.getvalue("dist") == "each":
        return None
    return DeferredScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Workers for ``-n auto`` where cases may be collected; None (xdist's own answer) elsewhere."""
    return auto_workers() if may_collect_cases(config.args, config.invocation_params.dir, config.rootpath) else None


def may_collect_cases(args: Sequence[str], folder: Path, root: Path) -> bool:
    """Whether any argument of pytest is, holds, or lies in one of the suites that judge claims."""
    suites = [(root / "suites" / name).resolve() for name in SUITES]
    for arg in args:
        path = (folder / arg.partition("::")[0]).resolve()
        if is_case(f"{path.as_posix()}/"):
            return True
        if any(suite.is_relative_to(path) and suite.exists() for suite in suites):
            return True
    return False
