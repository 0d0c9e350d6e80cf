"""The evidence plugin: what Allure shows of a case. Every text and number comes from the row; nothing is computed here.

Without allure-pytest, or without ``--alluredir``, it does nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from plugins.claims import RUN_DIR_VARIABLE, trial_of
from plugins.ledger import RECORD

if TYPE_CHECKING:
    from editverdict.inference.rows import Row
    from editverdict.ledger.records import CaseRecord


def _active(config: pytest.Config) -> bool:
    return bool(config.getoption("--alluredir", default=None))


@pytest.hookimpl(optionalhook=True)
def pytest_editverdict_row(item: pytest.Item, row: Row, run_dir: Path) -> None:
    """Give the running test its labels, description, numbers, cards and pictures."""
    if not _active(item.config):
        return
    import allure

    from editverdict.reporting import allure as mapping

    for name, value in mapping.labels(row):
        allure.dynamic.label(name, value)
    allure.dynamic.title(mapping.title(row))
    allure.dynamic.description(mapping.description(row))
    for parameter in mapping.parameters(row):
        allure.dynamic.parameter(parameter.name, parameter.value, excluded=parameter.excluded)
    for one in mapping.attachments(row, run_dir, trial_of(item.config).store.root / "drawings"):
        allure.attach(one.content, name=one.name, attachment_type=one.mime, extension=one.extension)


@pytest.hookimpl(optionalhook=True)
def pytest_editverdict_audited(item: pytest.Item, record: CaseRecord) -> None:
    """Give the running test of a rule its labels, numbers and record."""
    if not _active(item.config):
        return
    import allure

    from editverdict.reporting import allure_ledger as mapping

    for name, value in mapping.labels(record):
        allure.dynamic.label(name, value)
    for name, value in mapping.parameters(record):
        allure.dynamic.parameter(name, _Bare(value), excluded=True)
    allure.attach(mapping.as_json(record), name="rule.json", attachment_type="application/json", extension="json")


class _Bare:
    """A text that Allure writes without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Title and description of a rule: Allure forgets those that a fixture gives, and a broken rule has no body."""
    if not _active(item.config) or RECORD not in item.stash:
        return
    import allure

    from editverdict.reporting import allure_ledger as mapping

    allure.dynamic.title(mapping.title(item.stash[RECORD]))
    allure.dynamic.description(mapping.description(item.stash[RECORD]))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """When all workers have finished: expected and actual values, environment, results for cases that have none."""
    if hasattr(config, "workerinput") or not _active(config) or not (run_dir := os.environ.get(RUN_DIR_VARIABLE)):
        return
    folder, results = Path(config.getoption("--alluredir")), Path(run_dir) / "results.jsonl"
    if not folder.is_dir() or not results.exists():
        return
    from editverdict.inference.results import merge_rows
    from editverdict.reporting import allure as mapping

    manifest = Path(run_dir) / "manifest.json"
    mapping.finish_results(
        folder,
        merge_rows([results], on_conflict="last"),
        json.loads(manifest.read_text()) if manifest.exists() else {},
        Path(run_dir),
    )
