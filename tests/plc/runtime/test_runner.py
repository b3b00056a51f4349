"""A network that runs when its answer is collected, and only then."""

from collections.abc import Callable

import numpy as np
import pytest

from plc.runtime.providers import Signature
from plc.runtime.runner import KEEP_WARM_S, DeferredRunner, Outcome
from tests.plc.runtime.test_worker import Clock, Fake

SIGNATURE = Signature((("spectra", (1, 1, 2, 4, 6)), ("lost", (1, 6))), ("filled", (1, 2, 4, 6)))
SPECTRA = np.ones((1, 1, 2, 4, 6), np.float32)
LOST = np.ones((1, 6), np.float32)


def _deferred(
    act: Callable[[Fake], None] | None = None, on_gpu: bool = False, takes_s: float = 0.0
) -> tuple[DeferredRunner, Fake, Clock, list[str]]:
    clock = Clock()
    analysed: list[str] = []

    def run(fake: Fake) -> None:
        clock.now_s += takes_s
        if act is not None:
            act(fake)

    fake = Fake(run, on_gpu)

    def analyse() -> None:
        analysed.append("analysed")

    return DeferredRunner(fake, SIGNATURE, analyse, clock), fake, clock, analysed


def test_it_runs_when_collected_and_once() -> None:
    runner, fake, _, analysed = _deferred()
    out = np.zeros((1, 2, 4, 6), np.float32)
    ticket = runner.submit(SPECTRA, LOST)
    assert (fake.runs, analysed) == (0, [])
    assert runner.collect(ticket, 0.0, out) is Outcome.DONE
    assert (fake.runs, len(analysed)) == (1, 1)
    np.testing.assert_array_equal(out, 3.0)
    assert runner.collect(ticket, 0.0, out) is Outcome.ABSENT
    assert runner.counters.network_runs == runner.counters.network_done == 1


def test_what_is_abandoned_never_runs() -> None:
    runner, fake, _, analysed = _deferred()
    ticket = runner.submit(SPECTRA, LOST)
    runner.abandon()
    out = np.zeros((1, 2, 4, 6), np.float32)
    assert runner.collect(ticket, 0.0, out) is Outcome.ABSENT
    assert (fake.runs, analysed, runner.take_failure()) == (0, [], False)


def test_what_holds_everything_up_is_slow() -> None:
    runner, _, _, _ = _deferred(takes_s=0.06)
    out = np.zeros((1, 2, 4, 6), np.float32)
    assert runner.collect(runner.submit(SPECTRA, LOST), 0.0, out) is Outcome.SLOW
    assert runner.counters.network_late == 1


def test_what_raises_is_counted() -> None:
    def throw(_: Fake) -> None:
        raise RuntimeError("out of memory")

    runner, _, _, _ = _deferred(throw)
    out = np.zeros((1, 2, 4, 6), np.float32)
    assert runner.collect(runner.submit(SPECTRA, LOST), 0.0, out) is Outcome.FAILED
    assert (runner.counters.network_failed, runner.last_error) == (1, "out of memory")


@pytest.mark.parametrize("on_gpu", [False, True])
def test_only_a_gpu_is_kept_warm(on_gpu: bool) -> None:
    runner, fake, clock, _ = _deferred(on_gpu=on_gpu)
    for _ in range(4):
        runner.tick()
        clock.now_s += 0.6 * KEEP_WARM_S
    assert fake.warm_runs == 2 * on_gpu
