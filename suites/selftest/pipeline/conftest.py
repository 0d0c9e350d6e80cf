"""Runs of the smoke profile that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.selftest.pipeline.corruption import honest, world  # noqa: F401  fixtures of several files
from suites.selftest.pipeline.sessions import Session, once, run, shared_folder

SMOKE = ("--profile", "smoke")


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers have in common."""
    return shared_folder(tmp_path_factory)


@pytest.fixture(scope="session")
def smoke(common: Path) -> Session:
    """Both suites on the toy, once, in one process, from an empty store."""
    return once(common, "smoke", lambda folder: run(folder, *SMOKE, "--store", common / "smoke-store"))


@pytest.fixture(scope="session")
def smoke_store(common: Path, smoke: Session) -> Path:
    """The store that `smoke` has filled."""
    return common / "smoke-store"
