"""Progress with rate and remaining time."""

from __future__ import annotations

from editverdict.store import Clock


class Watch:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def lines_of(ticks: list[tuple[float, int]], total: int, seconds: float = 0.0) -> list[str]:
    watch, lines = Watch(), list[str]()
    clock = Clock("work", "pieces", lines.append, seconds, watch)
    for at, done in ticks:
        watch.at = 100.0 + at
        clock.tick(done, total)
    return lines


def test_rate_and_remaining_time() -> None:
    assert lines_of([(2.0, 4)], 10) == ["work: 4 of 10 pieces, 2.0/s, 3 s left"]
    assert lines_of([(8.0, 4)], 10) == ["work: 4 of 10 pieces, 2.0 s each, 12 s left"]


def test_nothing_done_has_no_rate_and_the_end_has_no_remainder() -> None:
    assert lines_of([(0.0, 0), (5.0, 10)], 10) == ["work: 0 of 10 pieces", "work: 10 of 10 pieces"]


def test_lines_are_thinned_but_the_last_one_comes() -> None:
    lines = lines_of([(0.1 * n, n) for n in range(1, 21)], 20, seconds=1.0)
    assert [line.split()[1] for line in lines] == ["1", "11", "20"]


def test_what_came_out_of_the_store_at_once_is_forgotten() -> None:
    ticks = [(0.0, n) for n in range(1, 101)] + [(float(n), 100 + n) for n in range(1, 61)]
    assert lines_of(ticks, 1000)[-1] == "work: 160 of 1000 pieces, 1.0/s, 840 s left"


def test_seconds_since_the_start() -> None:
    watch = Watch()
    clock = Clock("work", "pieces", lambda _line: None, now=watch)
    watch.at += 7
    assert clock.seconds == 7
