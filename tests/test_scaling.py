"""Streams of many processes: ``examples/scaling``, with a worker that is killed."""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keeper as keepers
import numpy as np
import pytest
from keeper import GoneError, Keeper, Process
from numpy.typing import NDArray
from streams import MOST_LOST_S, Played, Store, Tick, Worker, ranking

import plc
from plc import ConcealerPool
from tests.examples import some
from tests.plc.engine.stream.test_snapshots import FORMAT, losses, packets_of
from tests.processes import environment
from tests.test_examples import EXAMPLES, run

KEY = bytes(range(32))
N = FORMAT["packet_samples"]
TICK_S = N / FORMAT["sample_rate"]
EVERY_S = 0.5
# Where processes of the tests' neighbours have the cores, nobody is killed for being slow.
PATIENCE_S = 240.0

Ticks = list[tuple[NDArray[np.float32], NDArray[np.bool_]]]


# ---- who serves a stream ------------------------------------------------------------------------


def test_streams_are_spread_evenly_and_the_same_everywhere() -> None:
    workers = [f"w{k}" for k in range(5)]
    first = [ranking(ssrc, workers)[0] for ssrc in range(5000)]
    assert first == [ranking(ssrc, reversed(workers))[0] for ssrc in range(5000)]
    for worker in workers:
        assert first.count(worker) == pytest.approx(1000, abs=100)
    assert ranking(0x1A2B3C4D, ["a", "b", "c"]) == ["a", "c", "b"]  # of any version, for ever


def test_a_worker_that_joins_or_leaves_moves_its_own_share_alone() -> None:
    four = [f"w{k}" for k in range(4)]
    five = [*four, "w4"]
    moved = 0
    for ssrc in range(5000):
        before, after = ranking(ssrc, four), ranking(ssrc, five)
        assert [name for name in after if name != "w4"] == before
        moved += before[0] != after[0]
    assert moved == pytest.approx(1000, abs=100)


# ---- a worker's part ----------------------------------------------------------------------------


class Here:
    """A worker in this process."""

    def __init__(self, folder: Path, limit: int = 100, **settings: Any) -> None:
        self.worker: Worker | None = Worker(folder, KEY, FORMAT | settings, EVERY_S, limit)
        self.answers: list[Played] = []

    def ask(self, tick: Tick) -> None:
        if self.worker is not None:
            self.answers.append(self.worker.play(tick))
            self.worker.publish()

    def answer(self) -> Played:
        if self.worker is None:
            raise GoneError
        return self.answers.pop()

    def kill(self) -> None:
        self.worker = None


def ticks_of(streams: int) -> Ticks:
    packets = packets_of(streams)
    return list(zip(packets, losses(len(packets), streams), strict=True))


def undisturbed(ssrcs: list[int], ticks: Ticks) -> list[NDArray[np.float32]]:
    """Return what streams play that nothing happens to."""
    pool = ConcealerPool()
    ids = [int(pool.open(1, **FORMAT, seed=ssrc)[0]) for ssrc in ssrcs]
    return [np.asarray(pool.push(ids, *tick), np.float32) for tick in ticks]


def played_by(keeper: Keeper, ssrcs: list[int], ticks: Ticks, first: int = 0) -> Any:
    """Return the packets of all ticks, and who was served."""
    done = [keeper.play(k, ssrcs, *tick) for k, tick in enumerate(ticks, first)]
    return np.array([played for played, _ in done]), np.array([served for _, served in done])


def kept(folder: Path, *names: str, limit: int = 100) -> Keeper:
    keeper = Keeper()
    for name in names:
        keeper.add(name, Here(folder, limit))
    return keeper


SSRCS = [0xA0 + k for k in range(6)]


@pytest.fixture
def all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "MOVES_A_TICK", len(SSRCS))


@pytest.mark.usefixtures("all_at_once")
def test_streams_move_without_a_loss_where_workers_join_and_leave(tmp_path: Path) -> None:
    ticks = ticks_of(len(SSRCS))[:90]
    keeper = kept(tmp_path, "a", "b")
    played, served = [], []
    for number, tick in enumerate(ticks):
        if number == 30:
            keeper.add("c", Here(tmp_path))
        if number == 60:
            assert all(
                ranking(ssrc, "abc")[0] == name
                for name in "abc"
                for ssrc in keeper.streams_of(name)
            )
            keeper.drain("a")
        of_tick, who = keeper.play(number, SSRCS, *tick)
        played.append(of_tick)
        served.append(who)
    assert np.all(served)
    assert set(keeper.workers) == {"b", "c"}
    assert keeper.streams_of("b")
    assert keeper.streams_of("c")
    np.testing.assert_array_equal(played, undisturbed(SSRCS, ticks))


@pytest.mark.usefixtures("all_at_once")
def test_streams_go_on_when_their_keeper_has_begun_anew(tmp_path: Path) -> None:
    ticks = ticks_of(len(SSRCS))[:80]
    played_by(kept(tmp_path, "a", "b"), SSRCS, ticks[:70])
    numbers = {ssrc: Store(tmp_path, KEY).get(ssrc) for ssrc in SSRCS}
    played, served = played_by(kept(tmp_path, "a", "b"), SSRCS, ticks[70:], 70)
    assert served.all()
    for k, ssrc in enumerate(SSRCS):
        found = numbers[ssrc]
        assert found is not None
        expected = gone_on(ssrc, k, ticks, found[0], 70)
        np.testing.assert_array_equal(played[:, k], expected)


def gone_on(ssrc: int, k: int, ticks: Ticks, at: int, joined: int) -> list[Any]:
    """Return what a stream plays from a tick on that has lost the packets from another one on."""
    first_lost = max(at, joined - round(MOST_LOST_S / TICK_S))
    pool = ConcealerPool()
    ids = pool.open(1, **FORMAT, seed=ssrc)
    expected = []
    for number, (packets, arrived) in enumerate(ticks):
        if at <= number < first_lost:
            continue
        lost = first_lost <= number < joined
        came = arrived[k : k + 1] & (not lost)
        budget_ms = 0.0 if lost else np.inf
        played = pool.push(ids, packets[k : k + 1], came, budget_ms=budget_ms)
        if number >= joined:
            expected.append(played[0])
    return expected


def test_a_stream_that_ends_leaves_nothing(tmp_path: Path) -> None:
    ticks = ticks_of(1)[:40]
    keeper = kept(tmp_path, "a")
    played_by(keeper, [7], ticks)
    assert [path.name for path in tmp_path.iterdir()] == ["00000007.stream"]
    keeper.play(40, [], np.empty((0, N, 1), np.float32), np.empty(0, bool))
    assert not list(tmp_path.iterdir())
    assert not keeper.streams_of("a")


@pytest.mark.usefixtures("all_at_once")
def test_a_stream_that_ends_while_nobody_serves_it_leaves_nothing(tmp_path: Path) -> None:
    ticks = ticks_of(len(SSRCS))[:41]
    keeper = kept(tmp_path, "a", "b")
    played_by(keeper, SSRCS, ticks[:40])
    orphans = keeper.streams_of("a")
    keeper.workers["a"].kill()
    keeper.play(40, SSRCS, *ticks[40])  # it is found dead
    for number in (41, 42):
        keeper.play(number, [], np.empty((0, N, 1), np.float32), np.empty(0, bool))
    assert orphans
    assert not list(tmp_path.iterdir())
    assert not keeper._rankings
    assert not keeper._moved


def test_an_ssrc_that_is_given_twice_is_refused_and_kills_no_worker(tmp_path: Path) -> None:
    keeper = kept(tmp_path, "a", "b")
    packets, arrived = ticks_of(2)[0]
    for ssrcs in ([7, 7], [7], [7, 8, 9]):
        with pytest.raises(ValueError, match="give each SSRC once, and a packet"):
            keeper.play(0, ssrcs, packets, arrived)
    keeper.play(0, [7, 8], packets, arrived)
    assert set(keeper.workers) == {"a", "b"}


def test_streams_beyond_a_workers_limit_join_the_next_one(tmp_path: Path) -> None:
    ticks = ticks_of(len(SSRCS))[:20]
    keeper = kept(tmp_path, "a", "b", limit=2)
    _, served = played_by(keeper, SSRCS, ticks[:10])
    assert (served[5:].sum(axis=1) == 4).all()
    assert (served[5:] == served[5]).all()
    keeper.add("c", Here(tmp_path))
    _, served = played_by(keeper, SSRCS, ticks[10:], 10)
    assert served[5:].all()


# ---- snapshots that are refused -----------------------------------------------------------------


def changed(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def renumbered(path: Path) -> None:
    path.write_bytes((31).to_bytes(8, "little") + path.read_bytes()[8:])


def of_another_key(path: Path) -> None:
    other = Worker(path.parent, KEY[::-1], FORMAT)
    begin_and_leave(other, 7)


def a_link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("elsewhere")))


DAMAGES = {
    "changed": changed,
    "cut": lambda path: os.truncate(path, path.stat().st_size - 100),
    "renumbered": renumbered,
    "of another stream": lambda path: path.with_name("00000008.stream").replace(path),
    "of another key": of_another_key,
    "a link": a_link,
}


def tick_of(number: int, ssrc: int, *, joining: bool = False, leaving: bool = False) -> Tick:
    packets = packets_of(1)[number]
    return Tick(
        *(number, [ssrc] * joining, [ssrc], packets, np.array([number % 5 != 4])),
        *([ssrc] * leaving, []),
    )


def begin_and_leave(worker: Worker, ssrc: int) -> None:
    for number in range(30):
        worker.play(tick_of(number, ssrc, joining=number == 0, leaving=number == 29))


def check_begins_anew(worker: Worker) -> None:
    """Check that a worker refuses the snapshot of a stream, and counts it."""
    pool = ConcealerPool()
    ids = pool.open(1, **FORMAT, seed=7)
    for number in range(30, 60):
        tick = tick_of(number, 7, joining=number == 30)
        answer = worker.play(tick)
        assert answer.refused == 1
        expected = pool.push(ids, tick.packets, tick.arrived)
        np.testing.assert_array_equal(answer.packets, expected)


@some("damage", DAMAGES, 4)
def test_a_stream_whose_snapshot_is_refused_begins_anew(damage: str, tmp_path: Path) -> None:
    worker = Worker(tmp_path, KEY, FORMAT)
    for ssrc in (7, 8):
        begin_and_leave(worker, ssrc)
    DAMAGES[damage](Store(tmp_path, KEY).path(7))
    check_begins_anew(Worker(tmp_path, KEY, FORMAT))


def test_the_snapshot_of_an_earlier_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(plc, "__version__", "0.0.9")
        begin_and_leave(Worker(tmp_path, KEY, FORMAT), 7)
    check_begins_anew(Worker(tmp_path, KEY, FORMAT))


def test_streams_are_played_where_their_snapshots_cannot_be_written(tmp_path: Path) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    worker, undisturbed_one = Worker(store, KEY, FORMAT, TICK_S), Worker(other, KEY, FORMAT, TICK_S)
    assert store.stat().st_mode & 0o777 == 0o700
    for number in range(30):
        if number == 9:
            assert Store(store, KEY).path(7).stat().st_mode & 0o777 == 0o600
        if number == 10:
            Store(store, KEY).path(7).unlink()
            Store(store, KEY).path(7).mkdir()
        if number == 20:
            shutil.rmtree(store)
        tick = tick_of(number, 7, joining=number == 0, leaving=number == 29)
        answer, expected = worker.play(tick), undisturbed_one.play(tick)
        np.testing.assert_array_equal(answer.packets, expected.packets)
        assert answer.unpublished == max(number - 10 + (number == 29), 0)
        worker.publish()
        if number < 20:
            assert [path.name for path in store.iterdir()] == ["00000007.stream"]
    worker.play(Tick(30, [], [], np.empty((0, N, 1), np.float32), np.empty(0, bool), [], [7]))


# ---- processes ----------------------------------------------------------------------------------


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[dict[str, Process]]:
    """Start two workers."""
    started = {name: Process(tmp_path, KEY, FORMAT, 0.1, PATIENCE_S) for name in "ab"}
    yield started
    for process in started.values():
        process.kill()


def test_streams_of_a_worker_that_is_killed_go_on_elsewhere_within_a_second(
    processes: dict[str, Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at = 60
    ticks = ticks_of(len(SSRCS))[: killed_at + 50]
    keeper = Keeper()
    for name, process in processes.items():
        keeper.add(name, process)
    with monkeypatch.context() as start:
        start.setattr(keepers, "MOVES_A_TICK", len(SSRCS))
        before, served = played_by(keeper, SSRCS, ticks[:killed_at])
    assert served.all()
    victim = max("ab", key=lambda name: len(keeper.streams_of(name)))
    moved = [SSRCS.index(ssrc) for ssrc in keeper.streams_of(victim)]
    assert 3 <= len(moved) < len(SSRCS)

    dies = processes[victim].process
    assert dies.pid is not None
    os.kill(dies.pid, signal.SIGKILL)
    dies.join()
    snapshots = [Store(tmp_path, KEY).get(ssrc) for ssrc in SSRCS]
    after, served = played_by(keeper, SSRCS, ticks[killed_at:], killed_at)
    assert list(keeper.workers) == [name for name in "ab" if name != victim]
    expected = np.array(undisturbed(SSRCS, ticks))
    stay = [k for k in range(len(SSRCS)) if k not in moved]
    np.testing.assert_array_equal(before, expected[:killed_at])
    np.testing.assert_array_equal(after[:, stay], expected[killed_at:, stay])

    # Nobody plays the tick in which the worker is found dead; in each later one two streams go on.
    unplayed = N * (~served).sum(axis=0)
    assert sorted(unplayed[moved]) == [N * (1 + k // 2) for k in range(len(moved))]
    assert unplayed.max() < FORMAT["sample_rate"]
    assert keeper.refused == {"a": 0, "b": 0}
    for k in moved:
        found, joined = snapshots[k], killed_at + int(unplayed[k]) // N
        assert found is not None
        assert joined - round(MOST_LOST_S / TICK_S) <= found[0] <= killed_at  # all lost ones are
        went_on = gone_on(SSRCS[k], k, ticks, found[0], joined)
        np.testing.assert_array_equal(after[joined - killed_at :, k], went_on)
        assert not after[: joined - killed_at, k].any()


def test_a_worker_that_hangs_is_killed(processes: dict[str, Process]) -> None:
    hangs = processes["a"]
    assert hangs.process.pid is not None
    os.kill(hangs.process.pid, signal.SIGSTOP)
    hangs._patience_s = 0.01
    keeper = Keeper()
    keeper.add("a", hangs)
    _, served = played_by(keeper, SSRCS, ticks_of(len(SSRCS))[:1])
    assert not served.any()
    assert not keeper.workers
    assert not hangs.process.is_alive()


def test_a_worker_that_hangs_before_it_has_read_a_large_tick_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = 2000  # 2.5 MB: more than a pipe holds
    monkeypatch.setattr(keepers, "MOVES_A_TICK", streams)
    hangs = Process(tmp_path, KEY, FORMAT, patience_s=0.05)
    assert hangs.process.pid is not None
    os.kill(hangs.process.pid, signal.SIGSTOP)
    keeper = Keeper()
    keeper.add("a", hangs)
    packets, arrived = np.zeros((streams, N, 1), np.float32), np.ones(streams, bool)
    _, served = keeper.play(0, range(streams), packets, arrived)
    assert not served.any()
    assert not keeper.workers
    assert not hangs.process.is_alive()


# ---- the programs -------------------------------------------------------------------------------


@pytest.mark.deep
@pytest.mark.realtime
@pytest.mark.parametrize("program", ["keeper.py", "ray_workers.py"])
def test_a_program_kills_a_worker_and_its_streams_go_on(program: str) -> None:
    if program.startswith("ray"):
        pytest.importorskip("ray", reason="Ray comes with the extra scale")
    path = EXAMPLES / "scaling" / program
    said = json.loads(run(sys.executable, path, "--seconds", 4, "--kill-at", 2).splitlines()[-1])
    assert said["moved"] >= 4
    assert said["refused"] == 0
    assert 0 < said["unplayed_ms"]["most"] < 1000
    assert said["unplayed_ms"]["all"] >= 20 * said["moved"]


ON_THREE_NODES = """
import sys, tempfile
from pathlib import Path
import numpy as np, ray
from ray.cluster_utils import Cluster
from keeper import SETTINGS, Keeper
from ray_workers import Actor

cluster = Cluster()
nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(3)]
ray.init(cluster.address, log_to_driver=False, runtime_env={"working_dir": sys.argv[1]})
keeper, ssrcs = Keeper(), list(range(12))
packets, arrived = np.zeros((12, 320, 1), np.float32), np.ones(12, bool)
tick = iter(range(10**6))

def serve(ticks):
    return [int(keeper.play(next(tick), ssrcs, packets, arrived)[1].sum()) for _ in range(ticks)]

with tempfile.TemporaryDirectory() as folder:
    for name in "abc":  # of one core each: on a node each
        keeper.add(name, Actor(Path(folder), bytes(32), SETTINGS))
    serve(10)
    before = min(serve(40))
    cluster.remove_node(nodes[2], allow_graceful=False)
    while len(keeper.workers) == 3:  # its process ends some ticks later
        lost = serve(1)
    serve(10)
    print(len(keeper.workers), before, *lost, min(serve(40)))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.deep
@pytest.mark.realtime
def test_actors_of_ray_have_a_node_each_and_survive_the_loss_of_one() -> None:
    pytest.importorskip("ray", reason="Ray comes with the extra scale")
    folder = EXAMPLES / "scaling"  # with keeper.py, streams.py and ray_workers.py
    paths = environment()["PYTHONPATH"] + os.pathsep + str(folder)
    said = run(sys.executable, "-c", ON_THREE_NODES, folder, env=os.environ | {"PYTHONPATH": paths})
    counts = re.search(r"^(\d+) (\d+) (\d+) (\d+)$", said, re.M)
    assert counts is not None
    workers, before, meanwhile, after = map(int, counts.groups())
    assert workers == 2
    assert before == after == 12
    assert meanwhile < 12
