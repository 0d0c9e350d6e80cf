"""What all timings share: that they do not disturb each other, and what is said of the machine beside the numbers.

A timing is an artifact like any other. Its recipe holds what the number depends on by design: the model with its device
class and kernels, threads, protocol, states, questions and repeats. The machine cannot be held fixed; it is noted
beside the numbers, claims judge ratios of times that were measured in turns, and the check ``processor-to-itself``
compares wall-clock with CPU time: a process that had to wait for its core shows it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from filelock import FileLock

from editverdict.data.records import EditRecord
from editverdict.evaluation.questions import DIMENSIONS, Question, questions_of
from editverdict.inference.rows import CheckResult
from editverdict.pipeline.measurement import declare_checks, passed
from editverdict.pipeline.trial import Trial

LEAST_SHARE = 0.8
"""CPU seconds per wall-clock second below which a process on a CPU did not have its core to itself."""

declare_checks(
    processor_to_itself="on a CPU: CPU seconds are at least 0.8 of the wall-clock seconds that were timed",
    tokens_exact="every timed answer has exactly the protocol's number of new tokens",
)


def settings(trial: Trial) -> dict[str, Any]:
    """What every timing depends on beside model and protocol: recipe fields."""
    return {"threads": trial.profile.threads, "device": trial.device.type}


def machine() -> dict[str, Any]:
    """The hardware, and how busy it is now."""
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False),
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "load_1_min": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    """Name of the processor where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        named = []
    return named[0] if named else platform.processor() or platform.machine()


@contextmanager
def alone(trial: Trial) -> Iterator[dict[str, Any]]:
    """One timing at a time among all processes of a store; gives what is noted of the machine, filled on leaving.

    Nothing that others may be producing is asked for inside: whoever waits for the lock holds that of its own key.
    """
    folder = trial.store.root / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "timing.lock"):
        found = machine()
        yield found
        found["load_1_min_after"] = round(os.getloadavg()[0], 2)


def questions_to_time(chains: Sequence[Sequence[EditRecord]], count: int) -> list[tuple[int, Question]]:
    """(Number of the chain, question): dealt in turn over chains and over dimensions, none twice.

    The queries of a user are in scope and out of scope; a method that looks at its memory first takes both.
    """
    queues = [
        {name: [q for record in chain for q in questions_of(record) if q.dimension == name] for name in DIMENSIONS}
        for chain in chains
    ]
    dealt: list[tuple[int, Question]] = []
    seen: set[tuple[int, str]] = set()
    turn = 0
    while len(dealt) < count and any(queue for of_chain in queues for queue in of_chain.values()):
        chain = turn % len(queues)
        dimension = DIMENSIONS[(turn // len(queues) + chain) % len(DIMENSIONS)]
        turn += 1
        if not (queue := queues[chain][dimension]):
            continue
        question = queue.pop(0)
        if (chain, question.prompt) not in seen:
            seen.add((chain, question.prompt))
            dealt.append((chain, question))
    return dealt


def had_processor(trial: Trial, wall: float, cpu: float, beside: dict[str, Any]) -> dict[str, CheckResult]:
    """The check ``processor-to-itself``."""
    load = f"load average {beside.get('load_1_min')} before and {beside.get('load_1_min_after')} after"
    if trial.device.type != "cpu":
        return passed("processor-to-itself", True, f"the work is done by {trial.device.type}; {load}")
    share = cpu / wall if wall > 0 else 0.0
    said = f"{cpu:.1f} CPU seconds in {wall:.1f} s of wall clock ({share:.2f}, at least {LEAST_SHARE} wanted); {load}"
    return passed("processor-to-itself", share >= LEAST_SHARE, said)
