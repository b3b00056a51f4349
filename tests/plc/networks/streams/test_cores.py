"""Streams share the processors: those that lost a packet last prepare first."""

import os

import pytest

from plc.networks.streams.cores import Claim, Cores, usable_cores


class _Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _granted(cores: Cores, claims: list[Claim], clock: _Clock) -> list[bool]:
    """Have all ask after the next review."""
    clock.now_s += 1.0
    for claim in claims:
        cores.may(claim)
    clock.now_s += 1.0
    return [cores.may(claim) for claim in claims]


def _streams(count: int, most: float, share: float = 0.5) -> tuple[Cores, list[Claim], _Clock]:
    clock = _Clock()
    cores = Cores(most, clock)
    claims = [Claim(share) for _ in range(count)]
    for claim in claims:
        cores.enter(claim)
    return cores, claims, clock


def test_what_fits_is_granted() -> None:
    cores, claims, clock = _streams(4, 2.0)
    assert all(_granted(cores, claims, clock))


def test_one_is_always_granted() -> None:
    cores, claims, clock = _streams(1, 0.5, share=0.9)
    assert _granted(cores, claims, clock) == [True]


def test_those_that_lost_last_come_first() -> None:
    cores, claims, clock = _streams(6, 1.0)
    clock.now_s = 5.0
    cores.lost(claims[4])
    clock.now_s = 6.0
    cores.lost(claims[2])
    assert _granted(cores, claims, clock) == [False, False, True, False, True, False]
    cores.lost(claims[0])
    assert _granted(cores, claims, clock) == [True, False, True, False, False, False]


def test_who_left_or_asks_no_more_takes_nothing() -> None:
    cores, claims, clock = _streams(3, 1.0)
    assert _granted(cores, claims, clock) == [True, True, False]
    cores.leave(claims[0])
    cores.leave(claims[0])
    assert _granted(cores, claims[1:], clock) == [True, True]
    clock.now_s += 10.0
    assert _granted(cores, claims[2:], clock) == [True]
    cores.enter(Claim(0.5))
    assert _granted(cores, claims[2:], clock) == [True]


def test_claims_are_reviewed_twice_a_second_at_most() -> None:
    cores, claims, clock = _streams(3, 1.0)
    assert _granted(cores, claims, clock) == [True, True, False]
    cores.lost(claims[2])
    clock.now_s += 0.4
    assert not cores.may(claims[2])
    clock.now_s += 0.2
    assert cores.may(claims[2])


def test_in_a_crowd_nobody_prepares() -> None:
    cores, claims, clock = _streams(9, 100.0, share=0.1)
    assert not any(_granted(cores, claims, clock))
    cores.leave(claims[0])
    assert all(_granted(cores, claims[1:], clock))


def test_a_cheap_preparation_takes_half_a_core() -> None:
    cores, claims, clock = _streams(4, 1.0, share=0.01)
    assert sum(_granted(cores, claims, clock)) == 2


def test_only_processors_that_the_process_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4, 7}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
