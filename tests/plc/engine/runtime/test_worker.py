"""The network against the clock: threads are steered by events, time by a clock of the test's."""

import gc
import math
import os
import queue
import random
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.engine.runtime.providers import Signature
from plc.engine.runtime.worker import NO_TICKET, NetworkWorker, Result, Runnable, Switch
from plc.errors import ModelError
from tests.processes import environment

# Longer than any machine needs to run a few lines in another thread; only a broken test waits.
PATIENCE_S = 60.0
NO_HURRY_S = PATIENCE_S
"""A deadline on a clock that stands still."""


SIGNATURE = Signature((("spectra", (1, 1, 2, 3, 4)), ("lost", (1, 4))), ("filled", (1, 2, 3, 4)))


def gap(value: float, frames: int = 4) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.full((1, 1, 2, 3, frames), value, np.float32), np.ones((1, frames), np.float32)


def empty() -> NDArray[np.float32]:
    return np.full((1, 2, 3, 4), 7.0, np.float32)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Fake:
    """Doubles the spectra and adds ``lost``; ``act`` happens before."""

    def __init__(self, act: Callable[["Fake"], None] | None = None, on_gpu: bool = False) -> None:
        self.on_gpu = on_gpu
        self.act = act
        self.sound = True
        self.runs = 0
        self.warm_runs = 0
        self.cancelled = 0
        self.entered = threading.Event()
        self.gate = threading.Event()

    def run(
        self,
        spectra: NDArray[np.float32],
        lost: NDArray[np.float32],
        out: NDArray[np.float32],
    ) -> bool:
        self.runs += 1
        if self.act is not None:
            self.act(self)
        np.copyto(out, 2.0 * spectra[:, 0] + lost[:, None, None, :])
        return self.sound

    def keep_warm(self) -> None:
        if self.act is not None:
            self.act(self)
        self.warm_runs += 1

    def cancel(self) -> None:
        self.cancelled += 1


def hang(fake: Fake) -> None:
    fake.entered.set()
    assert fake.gate.wait(PATIENCE_S)


def start(network: Runnable, clock: Clock | None = None, inline: bool = False) -> NetworkWorker:
    worker = NetworkWorker(lambda: network, SIGNATURE, clock or Clock(), inline)
    worker.wait_until_open(PATIENCE_S)
    return worker


@pytest.fixture
def hanging() -> Iterator[Fake]:
    """A network that hangs until its gate opens, at the latest when the test ends."""
    fake = Fake(hang)
    yield fake
    fake.gate.set()


def wait_for_ready(worker: NetworkWorker) -> None:
    """Tick until the worker has given back what it had."""
    pause = threading.Event()
    for _ in range(60_000):
        worker.tick()
        if worker.state == "ready":
            return
        pause.wait(0.001)
    pytest.fail(f"the worker is {worker.state}")


@pytest.fixture(params=["inline", "worker"])
def line(request: pytest.FixtureRequest) -> Iterator[NetworkWorker]:
    made = start(Fake(), inline=request.param == "inline")
    yield made
    made.close()


def test_every_submission_gets_its_own_result(line: NetworkWorker) -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        spectra = rng.standard_normal((1, 1, 2, 3, 4)).astype(np.float32)
        lost = rng.random((1, 4)).astype(np.float32)
        out = empty()
        ticket = line.submit(spectra, lost)
        assert line.collect(ticket, NO_HURRY_S, out) is Result.DONE
        np.testing.assert_array_equal(out, 2.0 * spectra[:, 0] + lost[:, None, None, :])
    assert (line.counters.network_runs, line.counters.network_done) == (500, 500)


def test_a_ticket_counts_once_and_only_if_it_was_given(line: NetworkWorker) -> None:
    out = empty()
    ticket = line.submit(*gap(1.0))
    assert line.collect(ticket, NO_HURRY_S, out) is Result.DONE
    out = empty()
    assert line.collect(ticket, NO_HURRY_S, out) is Result.ABSENT
    assert line.collect(NO_TICKET, NO_HURRY_S, out) is Result.ABSENT
    assert line.collect(12345, NO_HURRY_S, out) is Result.ABSENT
    assert (out == 7.0).all()


def fail(fake: Fake) -> None:
    if fake.runs == 1:
        raise RuntimeError("the device\nis gone")


@pytest.mark.parametrize("inline", [True, False])
def test_an_exception_is_counted_and_the_next_submission_works(inline: bool) -> None:
    fake = Fake(fail)
    line = start(fake, inline=inline)
    out = empty()
    assert line.collect(line.submit(*gap(1.0)), NO_HURRY_S, out) is Result.FAILED
    assert (out == 7.0).all()
    assert line.last_error == "the device is gone"
    assert line.counters.network_failed == 1
    assert line.collect(line.submit(*gap(1.0)), NO_HURRY_S, out) is Result.DONE
    assert (out == 3.0).all()
    line.close()


@pytest.mark.parametrize("inline", [True, False])
def test_a_result_that_is_not_sound_is_not_given(inline: bool) -> None:
    fake = Fake()
    fake.sound = False
    line = start(fake, inline=inline)
    out = empty()
    assert line.collect(line.submit(*gap(1.0)), NO_HURRY_S, out) is Result.FAILED
    assert (out == 7.0).all()
    assert line.counters.network_failed == 1
    line.close()


def test_a_hung_run_is_late_at_the_deadline_and_its_result_is_never_given(hanging: Fake) -> None:
    worker = start(hanging)
    out = empty()
    ticket = worker.submit(*gap(1.0))
    assert worker.collect(ticket, 0.002, out) is Result.LATE
    assert worker.submit(*gap(2.0)) == NO_TICKET  # no queue behind the late one
    assert hanging.entered.wait(PATIENCE_S)
    hanging.gate.set()
    wait_for_ready(worker)
    assert worker.collect(ticket, NO_HURRY_S, out) is Result.ABSENT
    assert (out == 7.0).all()
    assert worker.collect(worker.submit(*gap(3.0)), NO_HURRY_S, out) is Result.DONE
    assert (out == 7.0).all()  # 2 * 3 + 1, its own result and not the late one's
    counters = worker.counters
    assert counters.network_late == counters.network_dropped == counters.network_refused == 1
    assert (counters.network_runs, counters.network_done) == (2, 1)
    worker.close()


def test_a_late_run_is_cancelled(hanging: Fake) -> None:
    worker = start(hanging)
    worker.collect(worker.submit(*gap(1.0)), 0.0, empty())
    assert hanging.cancelled == 1
    worker.close(0.0)


class Watched(queue.SimpleQueue[int]):
    """A queue that stays empty and notes how long somebody would have waited."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    def get(self, block: bool = True, timeout: float | None = None) -> int:
        assert timeout is not None, "it would wait for ever"
        self.waits_s.append(timeout)
        raise queue.Empty

    def get_nowait(self) -> int:
        raise queue.Empty


def test_no_call_waits_longer_than_until_the_deadline(hanging: Fake) -> None:
    clock = Clock()
    watched = Watched()
    worker = start(hanging, clock)
    worker._life.results = watched
    clock.now_s = 100.0
    ticket = worker.submit(*gap(1.0))
    assert worker.collect(ticket, 100.003, empty()) is Result.LATE
    assert watched.waits_s == pytest.approx([0.003])
    for _ in range(3):
        worker.tick()
        assert worker.submit(*gap(1.0)) == NO_TICKET
    assert len(watched.waits_s) == 1
    worker.close(0.0)


@pytest.mark.parametrize("then_s", [100.0 - 3600.0, math.nan, math.inf])
def test_a_clock_that_is_set_back_makes_nobody_wait(hanging: Fake, then_s: float) -> None:
    clock = Clock()
    worker = start(hanging, clock)
    worker._life.results = watched = Watched()
    clock.now_s = 100.0
    ticket = worker.submit(*gap(1.0))
    clock.now_s = then_s
    assert worker.collect(ticket, 100.003, empty()) is Result.LATE
    assert sum(watched.waits_s) < 0.0031
    worker.close(0.0)


def test_a_deadline_that_has_passed_takes_a_result_that_is_there() -> None:
    finished = threading.Event()

    class Telling(queue.SimpleQueue[int]):
        def put(self, item: int, block: bool = True, timeout: float | None = None) -> None:
            super().put(item)
            finished.set()

    worker = start(Fake())
    worker._life.results = Telling()
    ticket = worker.submit(*gap(1.0))
    assert finished.wait(PATIENCE_S)
    out = empty()
    assert worker.collect(ticket, -1.0, out) is Result.DONE
    worker.close()


def test_what_is_submitted_is_copied_at_once(hanging: Fake) -> None:
    worker = start(hanging)
    spectra, lost = gap(1.0)
    ticket = worker.submit(spectra, lost)
    spectra.fill(99.0)
    lost.fill(99.0)
    hanging.gate.set()
    out = empty()
    assert worker.collect(ticket, NO_HURRY_S, out) is Result.DONE
    assert (out == 3.0).all()
    worker.close()


def test_a_result_that_nobody_collects_is_dropped() -> None:
    worker = start(Fake())
    first = worker.submit(*gap(1.0))
    second = NO_TICKET
    while second == NO_TICKET:
        second = worker.submit(*gap(2.0))
    out = empty()
    assert worker.collect(first, NO_HURRY_S, out) is Result.ABSENT
    # Asking for the first in between has not cost the second.
    assert worker.collect(second, NO_HURRY_S, out) is Result.DONE
    assert (out == 5.0).all()
    assert worker.counters.network_dropped == 1
    worker.close()


def end_thread(fake: Fake) -> None:
    if fake.runs == 1:
        raise SystemExit("killed")


def test_a_worker_that_dies_is_noticed_at_once_and_asked_no_more() -> None:
    worker = start(Fake(end_thread))
    out = empty()
    # A collection that did not notice would be late, after a minute.
    assert worker.collect(worker.submit(*gap(1.0)), NO_HURRY_S, out) is Result.FAILED
    assert "killed" in worker.last_error
    for _ in range(10):
        worker.tick()
        assert worker.submit(*gap(1.0)) == NO_TICKET
    assert worker.state == "ended"
    assert (worker.counters.network_failed, worker.counters.network_refused) == (1, 10)
    worker.close()


def test_a_worker_that_dies_in_a_run_that_nobody_waited_for_is_told_of() -> None:
    worker = start(Fake(end_thread))
    worker.submit(*gap(1.0))
    worker.abandon()
    assert worker._life.over.wait(PATIENCE_S)
    pause = threading.Event()
    for _ in range(60_000):
        worker.tick()
        if worker.counters.network_failed:
            break
        pause.wait(0.001)
    worker.tick()
    assert worker.counters.network_failed == 1
    assert worker.last_error == "the worker ended: killed"
    worker.close(PATIENCE_S)
    worker.tick()
    assert worker.counters.network_failed == 1


def test_a_worker_that_hangs_is_asked_no_more_until_it_wakes(hanging: Fake) -> None:
    clock = Clock()
    worker = start(hanging, clock)
    ticket = worker.submit(*gap(1.0))
    assert worker.collect(ticket, 0.0, empty()) is Result.LATE
    for now_s, state in ((4.9, "busy"), (5.1, "hung")):
        clock.now_s = now_s
        worker.tick()
        assert worker.state == state
        assert worker.submit(*gap(1.0)) == NO_TICKET
    hanging.gate.set()
    wait_for_ready(worker)
    out = empty()
    assert worker.collect(worker.submit(*gap(10.0)), NO_HURRY_S, out) is Result.DONE
    assert (out == 21.0).all()
    worker.close()


def test_what_nobody_will_collect_does_not_cool_a_gpu() -> None:
    clock = Clock()
    worker = start(Fake(on_gpu=True), clock)
    worker.submit(*gap(1.0))
    clock.now_s += 1.0
    worker.tick()
    assert worker.counters.network_warm_runs == 0, "it is still waited for"
    worker.abandon()
    wait_for_ready(worker)
    assert worker.counters.network_dropped == 1
    clock.now_s += 1.0
    worker.tick()
    assert worker.counters.network_warm_runs >= 1
    worker.close()


@pytest.mark.parametrize("inline", [True, False])
def test_a_failure_that_nobody_waited_for_is_told_once(inline: bool) -> None:
    fake = Fake(fail)
    line = start(fake, inline=inline)
    told: list[Result] = []

    class Noting(Switch):
        def note(self, outcome: Result) -> None:
            told.append(outcome)
            super().note(outcome)

    line.switch = Noting()
    line.submit(*gap(1.0))
    line.abandon()
    line.tick()
    wait_for_ready(line)
    line.tick()
    assert told == [Result.FAILED]
    assert line.counters.network_failed == 1
    line.close()


def test_opening_errors_reach_whoever_waits_and_nobody_else() -> None:
    def refuse() -> Runnable:
        raise ModelError("no such network")

    worker = NetworkWorker(refuse, SIGNATURE)
    with pytest.raises(ModelError, match="no such network"):
        worker.wait_until_open(PATIENCE_S)
    assert worker.submit(*gap(1.0)) == NO_TICKET
    worker.tick()
    assert worker.collect(NO_TICKET, NO_HURRY_S, empty()) is Result.ABSENT
    assert worker.state == "ended"
    worker.close()


def test_while_it_opens_submissions_are_refused_and_waiting_has_an_end() -> None:
    gate = threading.Event()

    def open_slowly() -> Runnable:
        assert gate.wait(PATIENCE_S)
        return Fake()

    worker = NetworkWorker(open_slowly, SIGNATURE, Clock())
    assert worker.state == "starting"
    assert worker.submit(*gap(1.0)) == NO_TICKET
    with pytest.raises(ModelError, match="not ready after 0 s"):
        worker.wait_until_open(0.0)
    gate.set()
    worker.wait_until_open(PATIENCE_S)
    assert worker.collect(worker.submit(*gap(1.0)), NO_HURRY_S, empty()) is Result.DONE
    worker.close()


def test_closing_ends_the_thread_and_what_comes_after_is_refused() -> None:
    worker = start(Fake())
    worker.close(PATIENCE_S)
    assert worker._life.over.is_set()
    assert worker.state == "closed"
    assert worker.submit(*gap(1.0)) == NO_TICKET
    worker.tick()
    worker.close(PATIENCE_S)
    assert worker.counters.network_restarts == 0


def test_closing_does_not_wait_for_a_thread_that_hangs(hanging: Fake) -> None:
    worker = start(hanging)
    worker.submit(*gap(1.0))
    assert hanging.entered.wait(PATIENCE_S)
    worker.close(0.0)
    assert not worker._life.over.is_set()
    assert hanging.cancelled == 1
    hanging.gate.set()
    assert worker._life.over.wait(PATIENCE_S)  # it finds that it is not wanted


def test_a_worker_that_is_forgotten_ends_its_thread() -> None:
    worker = start(Fake())
    life = worker._life
    forgotten = weakref.ref(worker)
    del worker
    gc.collect()
    assert forgotten() is None
    assert life.over.wait(PATIENCE_S)


PRELUDE = """
import atexit, sys, threading
import numpy as np

begun, freed, ticked = threading.Event(), threading.Event(), threading.Event()
"""
SETTING = """
import plc.engine.runtime.threads
import plc.engine.runtime.worker
from plc.engine.runtime.providers import Signature

INPUTS = (("spectra", (1, 1, 2, 3, 4)), ("lost", (1, 4)))
GAP = [np.zeros(shape, np.float32) for _, shape in INPUTS]

class Blocked:
    on_gpu = False
    cancels = 0
    def __init__(self):
        print("opened", flush=True)
    def run(self, spectra, lost, out):
        begun.set()
        freed.wait()
        print("ran", flush=True)
        return True
    def cancel(self):
        self.cancels += 1
        print("cancelled", flush=True)
        if sys.argv[1] == "ends" and self.cancels == 2:
            freed.set()

def start():
    signature = Signature(INPUTS, ("filled", (1, 2, 3, 4)))
    worker = plc.engine.runtime.worker.NetworkWorker(Blocked, signature)
    worker.wait_until_open(60.0)
    return worker
"""
FORGETFUL = """
def main():
    assert start().submit(*GAP)
    begun.wait()

plc.engine.runtime.threads.EXIT_S = float(sys.argv[2])
main()
"""


def run_program(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize(("run", "wait_s", "says"), [("ends", PATIENCE_S, "ran"), ("hangs", 0, "")])
def test_a_process_waits_for_the_runs_of_forgotten_workers_but_not_for_ever(
    run: str, wait_s: float, says: str
) -> None:
    # One that returned into an interpreter that is gone would end the process with an abort.
    done = run_program(PRELUDE + SETTING + FORGETFUL, run, wait_s)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["opened", "cancelled", "cancelled", *says.split()]


def test_an_idle_gpu_is_kept_warm_on_ticks_one_run_at_a_time(hanging: Fake) -> None:
    clock = Clock()
    hanging.on_gpu = True
    worker = start(hanging, clock)
    worker.tick()
    assert worker.counters.network_warm_runs == 0  # not idle for long enough
    clock.now_s = 0.02
    for _ in range(5):
        worker.tick()
        clock.now_s += 0.02
    assert worker.counters.network_warm_runs == 1  # the first has not come back yet
    ticket = worker.submit(*gap(1.0))  # taken all the same: it runs next
    hanging.gate.set()
    out = empty()
    assert worker.collect(ticket, NO_HURRY_S, out) is Result.DONE
    assert (out == 3.0).all()
    clock.now_s += 0.02
    worker.tick()
    assert worker.counters.network_warm_runs == 2
    wait_for_ready(worker)
    worker.close(PATIENCE_S)
    assert hanging.warm_runs == worker.counters.network_warm_runs


def test_a_cpu_is_not_kept_warm() -> None:
    clock = Clock()
    fake = Fake()
    worker = start(fake, clock)
    for _ in range(5):
        clock.now_s += 1.0
        worker.tick()
    worker.close(PATIENCE_S)
    assert fake.warm_runs == worker.counters.network_warm_runs == 0


def test_any_mixture_of_late_failed_and_good_runs_gives_only_right_results() -> None:
    rng = random.Random(1)
    proceed: queue.SimpleQueue[str] = queue.SimpleQueue()

    def as_told(fake: Fake) -> None:
        if proceed.get(timeout=PATIENCE_S) == "raise":
            raise ValueError("told to")

    worker = start(Fake(as_told))
    outcomes: dict[Result, int] = dict.fromkeys(Result, 0)
    for value in range(400):
        kind = rng.choice(["good", "raise", "late"])
        ticket = worker.submit(*gap(float(value)))
        assert ticket != NO_TICKET
        out = empty()
        if kind != "late":
            proceed.put(kind)
        outcome = worker.collect(ticket, 0.0 if kind == "late" else NO_HURRY_S, out)
        expected = {"good": Result.DONE, "raise": Result.FAILED, "late": Result.LATE}[kind]
        assert outcome is expected
        assert (out == (2.0 * value + 1.0 if outcome is Result.DONE else 7.0)).all()
        outcomes[outcome] += 1
        if kind == "late":
            proceed.put(rng.choice(["good", "raise"]))
            wait_for_ready(worker)
    counters = worker.counters
    assert counters.network_done == outcomes[Result.DONE] > 100
    assert counters.network_failed == outcomes[Result.FAILED] > 100
    assert counters.network_late == counters.network_dropped == outcomes[Result.LATE] > 100
    assert counters.network_runs == 400
    counters.reset()
    assert counters.network_runs == 0
    worker.close()


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="schedulers are Linux's")


@on_linux
@pytest.mark.parametrize("policy", ["SCHED_OTHER", "SCHED_FIFO"])
def test_an_ordinary_thread_gives_way_and_a_real_time_one_stays_one(
    monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    given: list[int] = []
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: getattr(os, policy))
    monkeypatch.setattr(os, "sched_setscheduler", lambda _, wanted, __: given.append(wanted))
    worker = start(Fake())
    assert given == ([os.SCHED_BATCH] if policy == "SCHED_OTHER" else [])
    worker.close(PATIENCE_S)


@on_linux
@pytest.mark.parametrize("call", ["sched_getscheduler", "sched_setscheduler"])
def test_a_worker_that_may_not_give_way_works_as_well(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "not implemented")

    monkeypatch.setattr(os, call, refuse)
    worker = start(Fake())
    out = empty()
    assert worker.collect(worker.submit(*gap(3.0)), NO_HURRY_S, out) is Result.DONE
    worker.close(PATIENCE_S)
