"""Processors taken away: a stream that is stopped, on one core, or beside a busy thread goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.processes import environment

psutil = pytest.importorskip("psutil")
pytest.importorskip("onnxruntime")
if not hasattr(os, "sched_setaffinity"):
    pytest.skip("no affinity on this system", allow_module_level=True)

pytestmark = pytest.mark.realtime

PATIENCE_S = 120.0

STREAM = """
import gc, json, sys, threading, time
import numpy as np
import plc
from tests.signals import tones

seconds, spinners = float(sys.argv[1]), int(sys.argv[2])
rate, block = 16_000, 160
packets = tones(3, rate, 100 * block, 0.2).reshape(-1, block, 1)
rng = np.random.default_rng(1)
concealer = plc.Concealer(rate, 1, block, prepare="never")
gc.freeze()
stop = threading.Event()

def spin():
    n = 0
    while not stop.is_set():
        for n in range(1000):
            pass

def report(k, lost):
    stats = concealer.stats
    networks = concealer.describe()["networks"]
    print(json.dumps({
        "packets": k, "lost": lost, "counted": stats.packets, "lost_counted": stats.lost_packets,
        "samples": stats.total_samples_received, "concealed": stats.concealed_samples,
        "done": stats.network.network_done, "late": stats.network.network_late,
        "states": [each["state"] for each in networks.values() if "state" in each],
        "depths": [getattr(concealer._method, "ar", concealer._method).pace.depth],
        "finite": finite, "longest_ms": longest_ms, "restarts": stats.network.network_restarts,
    }), flush=True)

finite, longest_ms, k, lost = True, 0.0, 0, 0
threads = []
begin = time.monotonic()
while (at := time.monotonic() - begin) < seconds:
    if spinners and at > 0.25 * seconds and not threads:
        threads = [threading.Thread(target=spin, daemon=True) for _ in range(spinners)]
        for thread in threads:
            thread.start()
    if at > 0.5 * seconds:
        stop.set()
    is_lost = bool(rng.random() < 0.3)
    began = time.perf_counter()
    out = concealer.push(None if is_lost else packets[k % 100])
    longest_ms = max(longest_ms, 1e3 * (time.perf_counter() - began))
    finite = finite and bool(np.isfinite(out).all()) and out.shape == (block, 1)
    k, lost = k + 1, lost + is_lost
    if k % 50 == 0:
        report(k, lost)
    time.sleep(max(0.0, begin + k * block / rate - time.monotonic()))
report(k, lost)
concealer.close()
"""


class Stream:
    """A stream in real time in a process of its own, that says twice a second how it does."""

    def __init__(self, seconds: float, spinners: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", STREAM, str(seconds), str(spinners)],
            env=environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.told: list[dict[str, Any]] = []

    def until(self, packets: int) -> dict[str, Any]:
        """Wait for so many packets; return what it says of them."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.append(json.loads(line))
            if self.told[-1]["packets"] >= packets:
                break
        return self.told[-1]

    def rest(self) -> dict[str, Any]:
        """Wait for the end; return what it says last."""
        self.until(sys.maxsize)
        assert self.process.wait(PATIENCE_S) == 0
        return self.told[-1]


@pytest.fixture
def streams() -> Iterator[list[Stream]]:
    opened: list[Stream] = []
    yield opened
    for stream in opened:
        stream.process.kill()
        stream.process.communicate()


def check(stream: Stream, seconds: float) -> None:
    last, newest = stream.told[-1], stream.told[-10:]
    assert last["finite"]
    assert last["packets"] == last["counted"]
    assert last["lost"] == last["lost_counted"]
    assert last["samples"] == 160 * last["packets"]
    assert last["concealed"] == 160 * last["lost"]
    assert last["packets"] >= 0.9 * seconds * 100  # what was missed is caught up with
    # The ladder and the networks are back.
    assert any(set(each["states"]) <= {"on"} for each in newest)  # none on a machine too slow
    assert any(each["depths"] == [0] for each in newest)


@pytest.mark.deep
def test_a_stream_that_is_stopped_goes_on_where_it_was(streams: list[Stream]) -> None:
    """Like a machine that is suspended, or a container that has used up its share."""
    streams.append(stream := Stream(14.0))
    stream.until(150)
    for stopped_s in (0.02, 0.3, 1.5, 0.02, 0.1):
        stream.process.send_signal(signal.SIGSTOP)
        time.sleep(stopped_s)
        stream.process.send_signal(signal.SIGCONT)
        stream.until(stream.told[-1]["packets"] + 50)
    paused = stream.told[-1]
    last = stream.rest()
    check(stream, 14.0)
    assert last["done"] > paused["done"] or not last["states"]
    assert last["restarts"] == 0


@pytest.mark.deep
def test_a_stream_that_is_left_one_core_goes_on(streams: list[Stream]) -> None:
    """All its threads are, in midstream; then it has all of them again."""
    streams.append(stream := Stream(12.0))
    stream.until(150)
    cores = os.sched_getaffinity(0)
    threads = [each.id for each in psutil.Process(stream.process.pid).threads()]
    for number in threads:
        os.sched_setaffinity(number, {min(cores)})
    narrow = stream.until(600)
    for number in threads:
        os.sched_setaffinity(number, cores)
    last = stream.rest()
    check(stream, 12.0)
    assert narrow["concealed"] == 160 * narrow["lost"]
    assert last["done"] > narrow["done"] or not last["states"]


@pytest.mark.deep
@pytest.mark.parametrize("spinners", [1, 3])
def test_a_stream_beside_busy_threads_comes_back(streams: list[Stream], spinners: int) -> None:
    """They hold the interpreter for 5 ms at a time: half of a packet."""
    streams.append(stream := Stream(16.0, spinners))
    spun = stream.until(800)
    last = stream.rest()
    check(stream, 16.0)
    assert last["done"] > spun["done"] or not last["states"]
