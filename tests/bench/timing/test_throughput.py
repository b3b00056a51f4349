import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.engine.stats import Stats
from plc.errors import ConfigError
from plc.jsonable import to_json
from plc_bench.base.surroundings import usable_cpus
from plc_bench.base.workers import Failure, alone
from plc_bench.timing import gpu, throughput, throughput_report
from plc_bench.timing.stream import TimedStream
from plc_bench.timing.throughput import (
    Crowd,
    growth_cases,
    late_share,
    measure_capacity,
    measure_cost,
    measure_memory,
    most_in_time,
)
from plc_bench.timing.throughput_report import Job, Plan, measure, throughput_tables

pytest.importorskip("psutil", reason="psutil is not installed")

TINY = TimedStream(sample_rate=8000, method="burg", seconds=0.2, loss=0.2)


@dataclasses.dataclass
class Machine:
    """A clock that passes only while a packet is pushed, and what was pushed."""

    push_ms: float
    now_s: float = 0.0
    opened: int = 0
    pushed: list[tuple[int, bool]] = dataclasses.field(default_factory=list)

    def open(self, _: TimedStream) -> "Engine":
        self.opened += 1
        return Engine(self, self.opened - 1)


@dataclasses.dataclass
class Engine:
    """A stream that does nothing but take its time."""

    machine: Machine
    number: int
    stats: Stats = dataclasses.field(default_factory=Stats)

    def push(self, packet: NDArray[np.float32] | None) -> None:
        self.machine.pushed.append((self.number, packet is None))
        self.machine.now_s += 1e-3 * self.machine.push_ms

    def close(self) -> None:
        """Nothing to end."""


def machine_of(monkeypatch: pytest.MonkeyPatch, push_ms: float) -> Machine:
    """Make every stream one that takes ``push_ms`` for a packet."""
    machine = Machine(push_ms)
    monkeypatch.setattr(TimedStream, "open", lambda settings: machine.open(settings))
    return machine


def test_streams_take_turns_and_lose_packets_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = machine_of(monkeypatch, 0.5)
    crowd = Crowd(TINY, clock=lambda: machine.now_s)
    tick_ms, wall_s = crowd.drive(3)
    assert tick_ms == pytest.approx(np.full(20, 1.5))
    assert wall_s > 0.0
    assert [number for number, _ in machine.pushed] == [0, 1, 2] * 20
    lost = np.array([lost for _, lost in machine.pushed]).reshape(20, 3)
    assert crowd.lost_share == pytest.approx(lost.mean())
    assert (lost[:, 0] != lost[:, 1]).any()
    assert crowd.drive(2, 5)[0] == pytest.approx(np.full(5, 1.0))
    assert machine.opened == 3


def test_a_slow_tick_delays_those_behind_it() -> None:
    # Answers come after 5, 25, 20, 15, 10 and 5 ms, where 10 are allowed.
    assert late_share(np.array([5.0, 25.0, 5.0, 5.0, 5.0, 5.0]), 10.0) == 3 / 6
    assert late_share(np.full(9, 10.0), 10.0) == 0.0
    assert late_share(np.empty(0), 10.0) == 0.0


@given(st.lists(st.floats(0.0, 40.0), min_size=1, max_size=60).map(np.array))
def test_a_tick_is_done_when_the_queue_says_so(tick_ms: NDArray[np.float64]) -> None:
    ended_ms = 0.0
    late = 0
    for turn, took_ms in enumerate(tick_ms):
        ended_ms = max(ended_ms, 10.0 * turn) + took_ms
        late += ended_ms > 10.0 * (turn + 1) + 1e-9
    assert late_share(tick_ms, 10.0) == pytest.approx(late / tick_ms.size, abs=2e-2)


@given(st.integers(0, 2000), st.integers(0, 3000), st.integers(1, 1000))
def test_the_search_finds_the_most_to_three_percent(true: int, guess: int, most: int) -> None:
    tried: list[int] = []

    def in_time(streams: int) -> bool:
        assert 1 <= streams <= most
        tried.append(streams)
        return streams <= true

    found = most_in_time(in_time, guess, most)
    answer = min(true, most)
    assert found <= answer
    assert answer - found <= max(1, 0.03 * found) - (found < 34)
    assert len(tried) == len(set(tried)) <= 40


def test_cost_grows_by_one_thing_at_a_time() -> None:
    cases = growth_cases(TINY, most_streams=16)
    assert {name for name, _, _ in cases} == {"loss", "burst", "channels", "streams"}
    assert [count for name, _, count in cases if name == "streams"] == [1, 4, 16]
    for name, settings, _ in cases:
        long = dataclasses.replace(settings, seconds=TINY.seconds)
        field = {"burst": "mean_burst"}.get(name, name)
        changed = {
            each.name
            for each in dataclasses.fields(TINY)
            if getattr(long, each.name) != getattr(TINY, each.name)
        }
        assert changed <= {field}
    impossible = dataclasses.replace(TINY, loss=0.6, mean_burst=3.0)
    bursts = [one.mean_burst for name, one, _ in growth_cases(impossible, 1) if name == "burst"]
    assert bursts == [2.0, 5.0, 10.0, 20.0]


def test_a_cost_is_of_real_streams() -> None:
    cost = measure_cost(dataclasses.replace(TINY, method="ar"), streams=2, varied="streams")
    assert cost.streams == 2
    assert cost.core_percent == pytest.approx(cost.packet_us / 100.0)
    assert cost.real_time_factor > 0.0
    assert 0.0 < cost.tick_p50_ms <= cost.tick_p99_ms
    assert sum(cost.rungs.values()) > 0


def test_memory_is_what_further_streams_add() -> None:
    memory = measure_memory(TINY, streams=4)
    assert memory.streams == 4
    assert memory.first_mb > 1.0
    assert -1.0 < memory.stream_mb < 10.0


def test_a_capacity_is_found_in_a_process_bound_to_one_cpu() -> None:
    job: Job = ("capacity", measure_capacity, (TINY, 3))
    capacity = alone(throughput_report.call, job, "capacity")
    assert not isinstance(capacity, Failure)
    assert 0 <= capacity.streams <= 3
    assert capacity.at_most == (capacity.streams == 3)
    assert capacity.by_processor_time > 0.0
    assert capacity.cpu is None or capacity.cpu in usable_cpus()


@pytest.mark.parametrize("push_ms", [0.99, 25.0])
def test_a_capacity_is_as_many_streams_as_fit_into_a_packet(
    monkeypatch: pytest.MonkeyPatch, push_ms: float
) -> None:
    machine = machine_of(monkeypatch, push_ms)
    monkeypatch.setattr(throughput, "pin", lambda cpu: None)
    crowd = Crowd(TINY, clock=lambda: machine.now_s)
    monkeypatch.setattr(throughput, "Crowd", lambda settings: crowd)
    capacity = measure_capacity(TINY, 100)
    assert capacity.streams == (10 if push_ms < 1.0 else 0)
    assert capacity.late_share == (0.0 if push_ms < 1.0 else 1.0)
    assert capacity.by_processor_time == pytest.approx(10.0 / push_ms)
    assert not capacity.at_most


def test_what_fails_is_named_and_the_rest_is_measured_and_shown() -> None:
    plan = Plan(streams=[TINY], memory_streams=2, growth_streams=4)

    def attempt(call: Callable[[Job], Any], job: Job, name: str) -> Any:
        place, _, arguments = job
        if place == "capacity":
            return Failure(name, "no time")
        if place == "growth":
            return [measure_cost(arguments[0], 1, "loss"), measure_cost(arguments[0], 1, "burst")]
        return call(job)

    done: list[int] = []
    report = measure(plan, lambda: done.append(1), attempt)
    assert [(one.clip, one.reason) for one in report.failures] == [("capacity of burg", "no time")]
    assert len(done) == len(plan.jobs()) == 3
    tables = throughput_tables(report)
    titles = [table.title for table in tables if not isinstance(table, str)]
    assert titles == ["resident memory, MiB", "how cost grows: burg"]
    assert tables[-1] == "no accelerator was measured"
    assert json.loads(to_json(report))["growth"][0]["settings"]["method"] == "burg"


def test_a_device_serves_as_many_streams_as_are_in_time() -> None:
    pytest.importorskip("onnxruntime")
    tried: list[int] = []
    capacity = gpu.measure_capacity("cpu", 0.1, 5, tried.append)
    assert capacity.provider == "cpu"
    assert capacity.model == "speech"
    assert 0 <= capacity.streams <= 5
    assert [one["streams"] for one in capacity.measured] == tried
    assert max(tried) <= 5
    table = throughput_report.gpu_table([capacity])
    assert len(table.rows) == 1


def test_impossible_streams_are_refused_before_anything_is_measured() -> None:
    with pytest.raises(ConfigError, match="cannot come in bursts"):
        dataclasses.replace(TINY, loss=0.9, mean_burst=1.0).check()
    with pytest.raises(ConfigError, match="sample_rate is 11"):
        dataclasses.replace(TINY, sample_rate=11).check()
