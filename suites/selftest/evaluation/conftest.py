"""A judge's endpoint in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from suites.selftest.evaluation.endpoint import KEY, VARIABLE, Endpoint, serving


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A new server for every test, and a key in the environment."""
    monkeypatch.setenv(VARIABLE, KEY)
    with serving() as found:
        yield found
