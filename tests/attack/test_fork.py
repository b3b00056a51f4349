"""Forks of a process with open networks: the child ends, conceals, and disturbs nobody."""

import os
import subprocess
import sys

import pytest

from tests.processes import environment

pytest.importorskip("onnxruntime")
if not hasattr(os, "fork"):
    pytest.skip("this system has no fork", allow_module_level=True)

# Longer than anything here takes; only a failure waits for it.
PATIENCE_S = 120.0

PRELUDE = """
import multiprocessing, os, signal, sys, threading, time
import numpy as np
from plc import Concealer, ConcealerPool

packet = (0.3 * np.sin(np.arange(480) / 9.0)).astype(np.float32)[:, None]

def opened(**settings):
    concealer = Concealer(packet_samples=480, provider="cpu", prepare="never", **settings)
    assert concealer.describe()["networks"], "no network is open"
    return concealer

def play(concealer, packets=60, every=10):
    for k in range(packets):
        played = concealer.push(None if k % every >= every - 3 else packet)
        assert np.isfinite(played).all()
    return np.abs(played).max()

def play_until_a_network_answers(concealer):
    before = concealer.stats.network.network_done
    until = time.monotonic() + 30.0
    while concealer.stats.network.network_done == before:
        assert time.monotonic() < until, concealer.describe()
        play(concealer, 20)
        time.sleep(0.01)

def stay_inside(stream):
    # Have another thread be in the midst of a call, until what is returned is called.
    inside, leave = threading.Event(), threading.Event()
    def call():
        with stream._inside:
            inside.set()
            leave.wait()
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    inside.wait()
    return lambda: (leave.set(), thread.join())

def wait_for(child):
    until = time.monotonic() + 30.0
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            assert status == 0, f"the child ended with {status}"
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise SystemExit("the child never ended")
"""

ENDS = {
    "at its end": "",
    "by sys.exit": "sys.exit(0)",
    "by os._exit": "os._exit(0)",
    "after closing": "concealer.close()",
    "after packets": "play(concealer)",
    "after packets, closing": "play(concealer); concealer.close()",
    "after a stream of its own": "play_until_a_network_answers(opened(budget_ms=100.0))",
    "forgetting it": "del concealer; import gc; gc.collect()",
}


def run_program(code: str) -> None:
    # Where it seems to be under test ONNX Runtime starts no thread, which hides what it does.
    given = {name: value for name, value in environment().items() if name != "CI"}
    given.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code],
        env=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.deep
@pytest.mark.parametrize("how", ENDS)
def test_a_child_ends_however_it_does(how: str) -> None:
    code = f"""
concealer = opened(budget_ms=100.0)
play(concealer)
child = os.fork()
if child == 0:
    {ENDS[how] or "pass"}
else:
    wait_for(child)
    play_until_a_network_answers(concealer)
    concealer.close()
"""
    run_program(code)


@pytest.mark.parametrize("children", [2, pytest.param(12, marks=pytest.mark.deep)])
def test_children_forked_in_the_midst_of_runs_end(children: int) -> None:
    run_program(
        f"children = {children}"
        + """
concealer = opened(budget_ms=100.0)
other = opened(budget_ms=100.0)
stop = threading.Event()

def go_on():
    while not stop.is_set():
        play(other, 10)

player = threading.Thread(target=go_on, daemon=True)
player.start()
for k in range(children):
    for _ in range(k % 5):
        concealer.push(packet)
    concealer.push(packet)
    concealer.push(None)  # a run is under way now, here and in the other thread
    child = os.fork()
    if child == 0:
        play(concealer, 20)
        play(other, 20)
        if k % 3 == 0:
            concealer.close()
            other.close()
        if k % 2:
            sys.exit(0)
        break
    wait_for(child)
else:
    stop.set()
    player.join()
    play_until_a_network_answers(concealer)
    play_until_a_network_answers(other)
"""
    )


def test_a_stream_that_a_thread_was_at_work_on_begins_anew_in_the_child() -> None:
    run_program("""
from plc.errors import ConcurrentPushError

concealer = opened(budget_ms=100.0)
play(concealer)
leave = stay_inside(concealer)
child = os.fork()
if child == 0:
    play(concealer)
else:
    wait_for(child)
    try:
        concealer.push(packet)
    except ConcurrentPushError:
        leave()
    play(concealer)
""")


def test_the_child_conceals_and_its_networks_come_back() -> None:
    run_program("""
concealer = opened(budget_ms=100.0)
play_until_a_network_answers(concealer)
child = os.fork()
if child == 0:
    assert play(concealer) > 0.05
    play_until_a_network_answers(concealer)
    assert concealer.stats.network.network_restarts > 0
else:
    wait_for(child)
    play_until_a_network_answers(concealer)
    assert concealer.stats.network.network_restarts == 0
""")


def test_a_fork_during_the_first_start_waits_for_no_lock_in_the_child() -> None:
    run_program("""
from plc import warm_up
starting = threading.Thread(target=warm_up)
starting.start()
time.sleep(0.05)
child = os.fork()
if child == 0:
    play(opened(budget_ms=100.0))
else:
    starting.join()
    wait_for(child)
""")


def test_onnx_runtime_is_imported_without_its_reports() -> None:
    run_program("""
import plc.engine.runtime.session
before = dict(os.environ)
threads = set(os.listdir("/proc/self/task")) if sys.platform == "linux" else set()
plc.engine.runtime.session.runtime()
assert dict(os.environ) == before
if sys.platform == "linux":
    more = set(os.listdir("/proc/self/task")) - threads
    assert not more, more
""")


def test_many_streams_that_a_thread_was_inside_of_begin_anew_in_the_child() -> None:
    run_program("""
many = ConcealerPool()
ids = many.open(2, sample_rate=16_000, packet_samples=160, method="ar")
sound = np.stack([packet.reshape(-1)[:160, None]] * 2)
for _ in range(20):
    many.push(ids, sound, np.ones(2, bool))
leave = stay_inside(many)
child = os.fork()
if child == 0:
    assert not many.push(ids, sound, np.zeros(2, bool)).any()  # nothing was heard
else:
    wait_for(child)
    leave()
    assert many.push(ids, sound, np.zeros(2, bool)).any()
""")


def test_a_buffer_that_a_thread_was_inside_of_begins_anew_in_the_child() -> None:
    run_program("""
from plc import PlayoutBuffer
buffer = PlayoutBuffer(16_000, method="ar", delay_ms=0.0)
buffer.put(packet[:, 0])
leave = stay_inside(buffer)
child = os.fork()
if child == 0:
    assert not buffer.take(480)[0].any()
    buffer.put(packet[:, 0])
    assert (buffer.take(480)[0] == packet).all()
else:
    wait_for(child)
    leave()
    assert (buffer.take(480)[0] == packet).all()
""")
