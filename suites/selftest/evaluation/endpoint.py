"""Starting and asking the judge's endpoint of the tests."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editverdict.evaluation.judging import Item
from editverdict.evaluation.openai_judge import OpenAIJudge
from editverdict.schema.judges import OpenAIJudgeSpec

SCRIPT = Path(__file__).with_name("judge_server.py")
VARIABLE = "EDITVERDICT_TEST_KEY"
KEY = "sk-test-3b9f0c5d7e8a4f6290abcdef"
"""Made up; nothing that tests write may hold it."""
QUICK: dict[str, Any] = {"backoff_seconds": 0.02, "backoff_max_seconds": 0.5, "timeout_seconds": 5.0, "attempts": 4}
RIGHT = Item("What is the capital of France?", ("Paris",), "Paris, on the Seine")
WRONG = Item("What is the capital of Italy?", ("Rome", "Roma"), "Milan")


@dataclass
class Endpoint:
    """A running server."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def spec(self, behaviour: str, **settings: Any) -> OpenAIJudgeSpec:
        fields = {"id": "served", "format": "openai", "model": behaviour, "base_url": self.url, "key_env": VARIABLE}
        return OpenAIJudgeSpec.model_validate({**fields, **QUICK, **settings})

    def judge(self, behaviour: str, **settings: Any) -> OpenAIJudge:
        return OpenAIJudge(self.spec(behaviour, **settings))

    def stats(self) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/stats", timeout=10) as response:
            found: dict[str, Any] = json.load(response)
        return found


@contextmanager
def serving(port: int = 0) -> Iterator[Endpoint]:
    """A server process, ended when it is no longer needed."""
    process = subprocess.Popen([sys.executable, SCRIPT, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Endpoint(int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    """A port at which nobody listens (now)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
