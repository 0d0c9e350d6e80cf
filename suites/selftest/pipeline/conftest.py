"""Runs of the smoke profile that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.selftest.pipeline.sessions import Session, run

SMOKE = ("--profile", "smoke")


@pytest.fixture(scope="session")
def smoke_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of `smoke`: full once that fixture was asked for."""
    return tmp_path_factory.mktemp("smoke-store")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, smoke_store: Path) -> Session:
    """Both suites on the toy, once, in one process, from an empty store."""
    return run(tmp_path_factory.mktemp("smoke"), *SMOKE, "--store", smoke_store)
