"""Many streams in one call are what they are one by one."""

import copy
import dataclasses
import pickle
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc import Concealer, ConcealerPool
from plc.engine.many.pool import _Tick
from plc.engine.many.pool_format import Costs, PoolFormat
from plc.engine.runtime import threads
from plc.engine.stream.dependencies import Dependencies
from plc.engine.stream.packet_dropouts import DropoutFinder
from plc.errors import CapacityError, ConfigError, PacketError
from plc_kernels.stream.background import is_speech
from plc_kernels.stream.layout import FLAGS, REFIT
from plc_kernels.stream.step import PLAYED, PUSH, step_many
from tests.examples import examples
from tests.kernels.stream.test_networks import music, speech
from tests.signals import glide, noise, tones

BURG: Any = "burg:5/30"
RATE = 16_000
PACKET = 160
TICKS = 60
# As a dict, so that settings may stand beside it.
FORMAT: dict[str, Any] = {"sample_rate": RATE, "packet_samples": PACKET}


def packets_of(streams: int, dtype: type = np.float32) -> NDArray[np.float32]:
    """Return a piece for each stream, shape (ticks, streams, packet_samples, 1)."""
    n = TICKS * PACKET
    rows = [glide(k, RATE, n) if k % 2 else tones(k, RATE, n) for k in range(streams)]
    signal = np.stack(rows).reshape(streams, TICKS, PACKET, 1).transpose(1, 0, 2, 3)
    if dtype is np.int16:
        signal = np.round(signal * 20_000)
    return np.ascontiguousarray(signal.astype(dtype))


def losses(streams: int) -> NDArray[np.bool_]:
    arrived = np.random.default_rng(3).random((TICKS, streams)) > 0.2
    arrived[30:50, 0] = False  # past the fade
    return arrived


FORMATS: tuple[dict[str, Any], ...] = (
    {"sample_rate": 16_000, "packet_samples": 160, "method": "burg:5/30"},
    {"sample_rate": 8_000, "packet_samples": 64, "channels": 2, "method": "burg:4/20"},
    {"sample_rate": 16_000, "packet_samples": 160, "method": "burg:5/30", "lookahead": 1},
)


@dataclasses.dataclass
class Member:
    """A stream of a pool, and the same stream alone."""

    id: int
    format: int
    alone: Concealer
    heard: int = 0

    def packet(self, rng: np.random.Generator) -> NDArray[np.float32]:
        one = self.alone.config
        t = np.arange(self.heard, self.heard + one.packet_samples)[:, None]
        self.heard += one.packet_samples
        tone = np.sin(2 * np.pi * (300 + 50 * (self.id % 7)) * t / one.sample_rate)
        noisy = 0.3 * tone + 0.01 * rng.standard_normal((len(t), one.channels))
        return noisy.astype(np.float32)


@examples(40, few=8)
@given(seed=st.integers(0, 10_000), threads=st.integers(1, 3), most=st.integers(2, 150))
def test_streams_that_join_and_leave_change_nothing_of_the_others(
    seed: int, threads: int, most: int
) -> None:
    rng = np.random.default_rng(seed)
    members: list[Member] = []
    gone: list[int] = []
    with ConcealerPool(threads) as pool:
        for _ in range(25):
            if rng.random() < 0.5:
                of, count = int(rng.integers(len(FORMATS))), int(rng.integers(1, most))
                first = int(rng.integers(100))
                joined = pool.open(count, **FORMATS[of], seed=first)
                assert not set(joined.tolist()) & ({each.id for each in members} | set(gone))
                members += [
                    Member(int(one), of, Concealer(**FORMATS[of], seed=first + k))
                    for k, one in enumerate(joined[:5])
                ]
                pool.close(joined[5:])
                gone += joined[5:].tolist()
            if members and rng.random() < 0.3:
                left = members.pop(int(rng.integers(len(members))))
                pool.close([left.id])
                gone.append(left.id)
            assert len(pool) == len(members)
            for of in rng.permutation(len(FORMATS)).tolist():
                due = [each for each in members if each.format == of and rng.random() < 0.9]
                if not due:
                    continue
                rng.shuffle(due)
                packets = np.stack([each.packet(rng) for each in due])
                there = rng.random(len(due)) > 0.2
                ids = np.array([each.id for each in due])
                played = pool.push(ids, packets, there)
                for k, each in enumerate(due):
                    expected = each.alone.push(packets[k] if there[k] else None)
                    np.testing.assert_array_equal(played[k], expected)
                if not due[0].alone.config.lookahead:
                    np.testing.assert_array_equal(pool.concealed(ids)[~there], True)
    for stale in gone[:3]:
        with pytest.raises(ConfigError, match=f"no stream has the id {stale}"):
            pool.stats([stale])


def test_memory_is_given_back_where_neighbours_have_left() -> None:
    pool = ConcealerPool()
    ids = pool.open(200, **FORMAT, model="ar")
    assert sum(shelf is not None for shelf in pool._shelves.by_number) == 4
    pool.close(ids[10:])
    assert sum(shelf is not None for shelf in pool._shelves.by_number) == 1
    more = pool.open(60, **FORMAT, model="ar")
    assert len(pool._shelves.by_number) == 4
    assert len(pool) == 70
    packets = np.zeros((70, PACKET, 1), np.float32)
    every = np.concatenate([ids[:10], more])
    assert pool.push(every, packets, np.ones(70, bool)).shape == packets.shape
    pool.close()
    assert len(pool) == 0
    assert pool._shelves.by_number == [None] * 4
    assert pool._formats == {}


def test_the_rungs_for_servers_conceal_and_are_counted() -> None:
    packets, arrived = packets_of(2), losses(2)
    arrived[0] = True
    pool = ConcealerPool()
    ids = pool.open(2, **FORMAT, model="ar")
    played = np.empty_like(packets)
    made = np.zeros_like(arrived)
    for tick in range(TICKS):
        pool.push(ids, packets[tick], arrived[tick], played[tick])
        made[tick] = pool.concealed(ids)
    np.testing.assert_array_equal(made, ~arrived)
    np.testing.assert_array_equal(played[0], packets[0])
    lost = ~arrived[:, 0]
    lost[30:50] = False
    error = played[lost, 0] - packets[lost, 0]
    assert np.sum(error**2) < 0.5 * np.sum(packets[lost, 0] ** 2)
    stats, _ = pool.stats(ids)
    assert set(stats.rung_samples) == {"ar:4/20", "ar:2.5/15", "noise"}
    assert sum(stats.rung_samples.values()) == stats.concealed_samples


def test_a_fit_serves_again_for_a_while_in_steady_content_alone() -> None:
    """The same burst twice within 50 ms costs one fit; the streams still differ from no refit."""
    tone = tones(1, RATE, TICKS * PACKET).reshape(TICKS, 1, PACKET, 1)
    arrived = np.ones((TICKS, 1), bool)
    arrived[[40, 42]] = False
    served, fitted = ConcealerPool(), ConcealerPool()
    ids = served.open(1, **FORMAT)
    np.testing.assert_array_equal(fitted.open(1, **FORMAT), ids)
    (shelf,) = fitted._shelves.by_number
    assert shelf is not None
    shelf.blocks[:, REFIT] = 0
    for tick in range(TICKS):
        one = served.push(ids, tone[tick], arrived[tick])
        other = fitted.push(ids, tone[tick], arrived[tick])
        assert np.array_equal(one, other) == (tick < 42 or tick > 43)


def test_out_may_be_the_packets_themselves() -> None:
    packets, arrived = packets_of(3), losses(3)
    pool = ConcealerPool()
    one, other = (pool.open(3, **FORMAT) for _ in range(2))
    for tick in range(TICKS):
        expected = pool.push(one, packets[tick], arrived[tick])
        there = packets[tick].copy()
        assert pool.push(other, there, arrived[tick], there) is there
        np.testing.assert_array_equal(there, expected)


@pytest.mark.parametrize("shift", [1, -1])
def test_out_may_overlap_the_packets(shift: int) -> None:
    pool = ConcealerPool()
    one, other = (pool.open(3, **FORMAT) for _ in range(2))
    memory, everything = packets_of(4)[9], np.ones(3, bool)
    given_packets, out = (memory[1:], memory[:-1])[::shift]
    expected = pool.push(one, given_packets, everything)
    np.testing.assert_array_equal(pool.push(other, given_packets, everything, out), expected)


def test_one_stream_or_all_begin_anew() -> None:
    packets, arrived = packets_of(2), losses(2)
    pool = ConcealerPool()
    ids = pool.open(2, **FORMAT)
    first = [pool.push(ids, packets[tick], arrived[tick]) for tick in range(TICKS)]
    pool.reset(ids[1:])
    assert [stats.packets for stats in pool.stats(ids)] == [TICKS, 0]
    pool.push(ids, packets[0], np.zeros(2, bool), budget_ms=0.0)
    pool.reset()
    assert not pool.concealed(ids).any()
    again = [pool.push(ids, packets[tick], arrived[tick]) for tick in range(TICKS)]
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"count": 0}, "count is 0; give 1 to 65536"),
        ({"count": 1.5}, "count is 1.5; give 1 to 65536"),
        ({"count": 65_537}, "count is 65537; give 1 to 65536"),
        ({"method": "zeros"}, "method zeros fills gaps of recordings"),
        ({"model": "music"}, "model is 'music'; streams of a pool take auto or ar"),
        ({"sample_rate": 7}, "sample_rate is 7"),
        ({"budget_ms": 5}, "budget_ms is unknown; known: sample_rate, channels, "),
        ({"prepare": "always"}, "prepare is unknown; known: "),
    ],
)
def test_a_wrong_setting_names_what_would_do(setting: dict[str, int], message: str) -> None:
    pool = ConcealerPool()
    with pytest.raises(ConfigError, match=message):
        pool.open(**setting)  # type: ignore[arg-type]  # on purpose
    assert len(pool) == 0


def test_streams_are_counted_whatever_integer_says_how_many() -> None:
    pool = ConcealerPool()
    for count in (np.uint8(200), np.uint8(100)):
        pool.open(count, **FORMAT, model="ar")  # type: ignore[arg-type]
    assert len(pool) == 300


@pytest.mark.parametrize("threads", [0, 65, 1.5])
def test_a_pool_has_threads(threads: int) -> None:
    with pytest.raises(ConfigError, match=f"threads is {threads}; give 1 to 64"):
        ConcealerPool(threads)


def test_what_is_wrong_is_refused_and_no_stream_goes_on() -> None:
    pool = ConcealerPool()
    ids, others = pool.open(2, **FORMAT), pool.open(1, sample_rate=8_000, packet_samples=PACKET)
    packets, arrived = np.zeros((2, PACKET, 1), np.float32), np.ones(2, bool)
    wrong_ids: list[tuple[Any, str]] = [
        ([ids[0], ids[0]], f"the id {ids[0]} is given twice"),
        ([ids[0], 1 << 40], "no stream has the id 1099511627776"),
        ([ids[0], -1], "no stream has the id -1"),
        ([ids[0], others[0]], "ids are of 16000 Hz, .* and of 8000 Hz, .*; push each format in a"),
        ([], "ids is empty"),
        (ids.astype(float), r"ids is float64 \(2,\); give what open returned"),
        (ids[:, None], r"ids is int64 \(2, 1\); give what open returned"),
    ]
    for given_ids, message in wrong_ids:
        with pytest.raises(ConfigError, match=message):
            pool.push(given_ids, packets, arrived)
    with pytest.raises(ConfigError, match="no stream has the id -1"):
        pool.reset([-1])
    for budget_ms in (-1.0, np.nan, None, "5"):
        with pytest.raises(ConfigError, match=f"budget_ms is {budget_ms!r}; give a time of 0 ms"):
            pool.push(ids, packets, arrived, budget_ms=budget_ms)  # type: ignore[arg-type]
    wrong_arrays: list[tuple[tuple[Any, ...], str]] = [
        ((packets[:1], arrived), "packets is float32"),
        ((packets.astype(np.float64), arrived), r"give np.asarray\(packets, np.float32\)$"),
        ((packets.swapaxes(1, 2), arrived), r"push np.swapaxes\(packets, 1, 2\)$"),
        ((packets[..., 0], arrived), r"push packets\[..., None\]$"),
        (([packets.tolist()], arrived), "packets is list; give a numpy array"),
        ((packets, arrived[:1]), "arrived is .*; give bool of shape"),
        ((packets, arrived.astype(int)), "arrived is .*; give bool of shape"),
        ((packets, arrived, packets[:, :80]), "out must be"),
        ((packets, arrived, packets.astype(np.int16)), "out must be"),
    ]
    for arguments, message in wrong_arrays:
        with pytest.raises(PacketError, match=message):
            pool.push(ids, *arguments)
    wrong_parts: list[tuple[Any, str]] = [
        ({2: [(0, 8)]}, "missing has parts of packet 2; there are 2"),
        ({-1: [(0, 8)]}, "missing has parts of packet -1; there are 2"),
        ({1: [(8, 8)]}, r"missing is \[\(8, 8\)\]; give parts of 0 to 160"),
        ({1.5: [(0, 8)]}, "missing has parts of packet 1.5; there are 2"),
        ({"1": [(0, 8)]}, "missing has parts of packet '1'; there are 2"),
        ([(0, 8)], r"missing is list; give parts by place, such as \{3: \[\(0, 120\)\]\}"),
    ]
    for missing, message in wrong_parts:
        with pytest.raises(PacketError, match=message):
            pool.push(ids, packets, arrived, missing=missing)
    assert [stats.packets for stats in pool.stats([*ids, *others])] == [0, 0, 0]


def test_a_packet_with_nan_is_lost_to_its_stream_alone() -> None:
    pool = ConcealerPool()
    ids = pool.open(2, **FORMAT)
    signal = noise(1, 2 * PACKET).reshape(2, PACKET, 1)
    for _ in range(5):
        pool.push(ids, signal, np.ones(2, bool))
    bad = signal.copy()
    bad[0, 3] = np.nan
    played = pool.push(ids, bad, np.ones(2, bool))
    assert np.isfinite(played).all()
    assert pool.concealed(ids).tolist() == [True, False]
    assert [stats.invalid_packets for stats in pool.stats(ids)] == [1, 0]


def test_integers_given_as_float_are_told_once_for_a_pool(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        with ConcealerPool() as pool:
            ids = pool.open(3, sample_rate=16_000, packet_samples=160)
            packets = np.zeros((3, 160, 1), np.float32)
            packets[2] = 30_000.0
            caplog.clear()
            for arrived in ([True, True, False], *[[True] * 3] * 20):
                pool.push(ids, packets, np.array(arrived))
            assert ["full scale is 1.0" in line for line in caplog.messages] == [True]


def test_tensors_of_torch_are_taken() -> None:
    torch = pytest.importorskip("torch")
    packets, arrived = packets_of(2), losses(2)
    pool = ConcealerPool()
    one, other = (pool.open(2, **FORMAT) for _ in range(2))
    for tick in range(5):
        given = (torch.from_numpy(each[tick]) for each in (packets, arrived))
        played = pool.push(torch.from_numpy(one), *given)
        np.testing.assert_array_equal(played, pool.push(other, packets[tick], arrived[tick]))


def test_leaving_it_ends_the_threads_and_one_thread_can_go_on() -> None:
    packets, arrived = packets_of(4), losses(4)
    before = len(threads.running)
    with ConcealerPool(threads=3) as pool:
        ids = pool.open(4, **FORMAT)
        for tick in range(5):
            pool.push(ids, packets[tick], arrived[tick])
        assert len(threads.running) > before
    assert len(threads.running) == before
    with pytest.raises(ConfigError, match="it was never open, or left"):
        pool.push(ids, packets[5], arrived[5])
    ids = pool.open(4, **FORMAT)
    assert pool.push(ids, packets[5], arrived[5]).shape == packets[5].shape
    assert len(threads.running) == before


def test_its_text_tells_the_formats_and_the_losses_of_all() -> None:
    pool = ConcealerPool()
    assert repr(pool).startswith("<ConcealerPool of no streams; packets=0")
    ids = pool.open(3, **FORMAT)
    pool.push(ids, np.zeros((3, PACKET, 1), np.float32), np.array([True, False, False]))
    pool.open(2, sample_rate=8_000, packet_samples=80, method="ar")
    assert repr(pool) == (
        "<ConcealerPool of 3 streams of 16000 Hz, 1 channel, packets of 160 samples (10 ms), "
        "lookahead 0, method 'server', no time limit; 2 streams of 8000 Hz, 1 channel, packets of "
        "80 samples (10 ms), lookahead 0, method 'ar', no time limit; packets=3 lost_packets=2 "
        "concealed_samples=320 concealment_events=2>"
    )


def costing(
    monkeypatch: pytest.MonkeyPatch,
    received_ms: float,
    lost_ms: float,
    hurried_ms: float = 0.0,
    **given: Any,
) -> None:
    """Let packets of all streams cost that, on two cores."""
    costs = Costs(received_ms, lost_ms, hurried_ms)
    depends = Dependencies(costs=lambda _: costs, cores=lambda: 2, **given)
    monkeypatch.setattr(ConcealerPool, "dependencies", depends)


def test_what_there_is_time_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    costing(monkeypatch, 0.1, 2.0)
    # Of 10 ms each takes 0.9 * 0.1 + 0.1 * 2.0 = 0.29 ms of two cores.
    pool = ConcealerPool(threads=3)
    assert pool.capacity(expected_loss=0.1, **FORMAT) == 68
    ids = pool.open(60, **FORMAT)
    assert pool.capacity(expected_loss=0.1, **FORMAT) == 8
    pool.open(20, **FORMAT)  # which is the caller's to decide
    assert pool.capacity(expected_loss=0.1, **FORMAT) == 0
    pool.close(ids[:20])
    assert pool.capacity(expected_loss=0.1, **FORMAT) == 8
    assert ConcealerPool(threads=1).capacity(expected_loss=0.0, **FORMAT) == 100
    with pytest.raises(ConfigError, match="expected_loss is 2; give a share of 0 to 1"):
        pool.capacity(expected_loss=2)


def test_what_was_told_is_a_number_that_can_be_copied_and_pickled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costing(monkeypatch, 1.0, 1.0)
    found = ConcealerPool().capacity(**FORMAT)
    for made in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert (made, made.least) == (found, found.least) == (10, 10)


def test_no_more_streams_join_than_the_caller_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    costing(monkeypatch, 9.0, 9.0)
    pool = ConcealerPool(limit=60)
    ids = pool.open(55, **FORMAT)
    with pytest.raises(CapacityError, match=r"9 more streams are 4 too many: .* limit is 60, .* 5"):
        pool.open(9, **FORMAT)
    assert len(pool) == 55
    pool.close(ids[:10])
    assert pool.open(15, **FORMAT).size == 15
    for limit in (0, 65_537, 2.5):
        with pytest.raises(ConfigError, match=f"limit is {limit}; give 1 to 65536 streams"):
            ConcealerPool(limit=limit)  # type: ignore[arg-type]  # on purpose


def test_what_streams_take_is_measured_on_while_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 1 / 512  # a push takes that long, by two readings
        return now_s

    costing(monkeypatch, 1.0, 1.0, cpu_clock=lambda: clock)
    pool = ConcealerPool()
    assert pool.capacity(**FORMAT) == pool.capacity(**FORMAT).least == 10
    one = pool.open(1, **FORMAT)
    packets = packets_of(1)
    for tick in range(2 * TICKS):
        pool.push(one, packets[tick % TICKS], np.ones(1, bool))
    found = pool.capacity(**FORMAT)
    assert (found, found.least) == (9, 4)  # as cheap as at first, or twice as dear
    for tick in range(10 * TICKS):
        pool.push(one, packets[tick % TICKS], np.ones(1, bool))
    assert pool.capacity(**FORMAT) == 4  # now it is known


def test_a_stream_with_the_network_for_speech_takes_less_than_a_megabyte() -> None:
    pool = ConcealerPool()
    pool.open(2, sample_rate=48_000, packet_samples=480)
    (found,) = pool._formats.values()
    assert found.model
    assert 8 * found.words < 1e6


def test_speech_that_lasts_is_not_listened_to_for_passages_of_music() -> None:
    """The music behind it is, as far back as passages reach."""
    rate, packet = 48_000, 480
    loop = music(rate, 1)[: rate // 2]
    packets = np.concatenate([speech(rate, 1)] * 4 + [loop] * 20).reshape(-1, 1, packet, 1)
    pool = ConcealerPool()
    ids = pool.open(1, sample_rate=rate, packet_samples=packet, method="auto")
    heard, error = [], []
    for number, each in enumerate(packets):
        arrived = number < len(packets) - 3
        out = pool.push(ids, each, np.array([arrived]))[0]
        heard.append(bool(pool._shelves.of(0).blocks[0, FLAGS] & PLAYED))
        error.append(float(np.sum((out - each[0]) ** 2) / np.sum(each[0] ** 2)))
    assert all(heard[:800])
    assert not any(heard[900:1000])
    assert all(heard[-300:])
    assert max(error[:-3]) == 0.0
    assert max(error[-3:]) < 2e-3  # half a second ago it was the same


@pytest.mark.parametrize("begin", [600, 900])
def test_what_is_lost_behind_the_end_of_speech_in_one_packet_is_filled(begin: int) -> None:
    """Its first part is told to be music, as speech that had lasted was not heard."""
    rate, packet, key = 48_000, 1200, bytes(16)
    loop = music(rate, 1)[: rate // 2]
    signal = np.concatenate([*[speech(rate, 1)] * 4, *[loop] * 14])[500:]
    packets = signal[: len(signal) // packet * packet].reshape(-1, 1, packet, 1)
    pool = ConcealerPool()
    ids = pool.open(1, sample_rate=rate, packet_samples=packet, method="auto")
    one, before = np.ones(1, bool), b""
    for number, each in enumerate(packets):
        if number > 400:
            (before,) = pool.snapshot(ids, key)
        pool.push(ids, each, one)
        if number > 400 and not is_speech(pool._shelves.of(0).blocks[0]):
            break
    again = ConcealerPool()
    ids = again.restore([before], key)
    out = again.push(ids, each, one, missing={0: [(begin, packet)]})[0]
    lost = each[0, begin:]
    assert np.sum((out[begin:] - lost) ** 2) < 0.3 * np.sum(lost**2)


def test_what_a_stream_costs_is_measured() -> None:
    pool = ConcealerPool()
    assert 0 < pool.capacity(**FORMAT) < pool.capacity(**FORMAT, model="ar")
    (served, plain) = pool._formats.values()
    assert 0.0 < plain.costs.received_ms < plain.costs.lost_ms < served.costs.lost_ms
    assert served.costs.hurried_ms < served.costs.lost_ms
    waits = pool.capacity(**FORMAT, lookahead=2, method=BURG)
    assert waits > 0


def test_preparations_take_time_that_is_left_and_are_no_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, prepare = 0.0, PoolFormat.prepare

    def takes_a_ms(*given: Any) -> None:
        nonlocal now_s
        now_s += 1 / 1024 if given[1] == PUSH else 0.0
        step_many(*given)

    def slow(*given: Any) -> None:
        nonlocal now_s
        now_s += 1.0
        prepare(*given)

    costing(monkeypatch, 1.0, 1.0, cpu_clock=lambda: lambda: now_s, step=takes_a_ms)
    monkeypatch.setattr(PoolFormat, "prepare", slow)
    pool = ConcealerPool()
    one = pool.open(1, **FORMAT)
    packets = speech(RATE, 1).reshape(-1, PACKET, 1).astype(np.float32)
    for k, packet in enumerate(packets):
        pool._cost_s = 0.0
        pool.prepare(1e3)
        pool.push(one, packet[None], [k % 10 != 9])
    assert pool.stats(one)[0].ahead.concealed_prepared > 10
    assert pool.capacity(0.0, **FORMAT).least >= 8


def test_the_search_for_dropouts_is_measured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still but for the search."""
    searched_s = 0.0

    def look_through(*_: object) -> tuple[bool, tuple[()]]:
        nonlocal searched_s
        searched_s += 1 / 1024
        return True, ()

    monkeypatch.setattr(DropoutFinder, "look_through", look_through)
    searching = Dependencies(cpu_clock=lambda: lambda: searched_s)
    monkeypatch.setattr(ConcealerPool, "dependencies", searching)
    pool = ConcealerPool()
    settings = FORMAT | {"model": "ar", "detect_dropouts": True}
    assert pool.capacity(0.0, **settings) == 10
    assert pool.capacity(0.0, **FORMAT, model="ar") == 65_536
    # And while it runs, where it takes as long.
    pool = ConcealerPool()
    one = pool.open(1, **settings)
    for _ in range(10 * TICKS):
        pool.push(one, packets_of(1)[0], [True])
    assert pool.capacity(0.0, **settings) == 9


@pytest.mark.parametrize(("hurried_ms", "served"), [(0.0, 2), (0.3, 1)])
def test_bursts_without_time_have_the_cheapest_prediction_in_turn(
    hurried_ms: float, served: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is time left for that, too, of those that wait."""
    now_s = 0.0

    def serve_for_a_millisecond(*given: Any) -> None:
        nonlocal now_s
        step_many(*given)
        now_s += 0.001 if given[1] == PUSH and given[-1] - given[-2] == 1 else 0.0

    costing(monkeypatch, 0.1, 1.0, hurried_ms, clock=lambda: now_s, step=serve_for_a_millisecond)
    streams = 4
    pool = ConcealerPool()
    ids = pool.open(streams, **FORMAT, method="auto", model="ar")
    packets = packets_of(streams)
    lost_in = [tick for tick in range(20, TICKS) if tick % 4 == 0]
    for tick in range(TICKS):
        there = np.full(streams, tick not in lost_in)
        played = pool.push(ids, packets[tick], there, budget_ms=2.5)
        assert np.isfinite(played).all()
    for stats in pool.stats(ids):
        spared = len(lost_in) * (streams - served) // streams
        assert stats.rung_samples["ar:0.5/4"] == pytest.approx(spared * PACKET, abs=PACKET)
        assert stats.concealed_samples == len(lost_in) * PACKET


def test_threads_share_the_bursts_of_streams_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    streams, lost = 9, 5
    alone: list[int] = []

    def note(*given: Any) -> None:
        alone.append(given[1] == PUSH and given[-1] - given[-2] == 1)
        step_many(*given)

    monkeypatch.setattr(ConcealerPool, "dependencies", Dependencies(step=note))
    for count, expected in ((1, 0), (2, lost)):
        pool = ConcealerPool(threads=count)
        ids = pool.open(streams, **FORMAT)
        alone.clear()
        with pool:
            pool.push(ids, packets_of(streams)[0], np.arange(streams) >= lost)
        assert sum(alone) == expected


def test_a_burst_that_was_spared_has_no_network_later(monkeypatch: pytest.MonkeyPatch) -> None:
    costing(monkeypatch, 0.1, 1.0)
    signal = speech(16_000, 1)
    packets = signal[: len(signal) // 320 * 320].reshape(-1, 1, 320, 1)
    lost = np.arange(len(packets)) % 10 > 6
    made = {}
    for budget_ms in (0.0, np.inf):
        pool = ConcealerPool()
        ids = pool.open(1, sample_rate=16_000, packet_samples=320)
        for packet, gone in zip(packets, lost, strict=True):
            pool.push(ids, packet, ~gone[None], budget_ms=budget_ms)
        made[budget_ms] = pool.stats(ids)[0].rung_samples["network:speech"]
    assert made[0.0] == 0
    assert made[np.inf] > 0


@pytest.mark.parametrize("lookahead", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1e6])
def test_a_burst_that_an_unsound_packet_begins_is_in_time_too(
    value: float, lookahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    costing(monkeypatch, 0.1, 1.0)
    pool = ConcealerPool()
    ids = pool.open(3, **FORMAT, method="auto", model="ar", lookahead=lookahead)
    for tick, packets in enumerate(packets_of(3)):
        packets[0, 3] = value if tick % 5 == 4 else 0.1
        # Loud, but sound; and parts that are not looked at.
        packets[1] *= 9e5 / np.abs(packets[1]).max()
        packets[2, 3] = value
        pool.push(ids, packets, np.ones(3, bool), missing={2: [(0, 10)]}, budget_ms=0.0)
    first, loud, third = pool.stats(ids)
    assert first.invalid_packets == TICKS // 5
    assert first.rung_samples["ar:0.5/4"] == first.concealed_samples > 0
    assert (loud.invalid_packets, loud.concealed_samples, third.invalid_packets) == (0, 0, 0)
    assert third.rung_samples["ar:0.5/4"] > 0


def test_no_thread_is_at_work_after_a_push_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    packets, arrived = packets_of(4), losses(4)
    with ConcealerPool(threads=3) as pool:
        ids = pool.open(4, **FORMAT)
        begun: list[float] = []
        at_work = threading.Event()

        def work(tick: _Tick) -> None:
            if threading.current_thread() is threading.main_thread():
                at_work.wait()
                raise KeyboardInterrupt
            at_work.set()
            time.sleep(0.05)
            begun.append(time.perf_counter())

        with monkeypatch.context() as patched:
            patched.setattr(_Tick, "work", work)
            with pytest.raises(KeyboardInterrupt):
                pool.push(ids, packets[0], arrived[0])
        assert len(begun) == 2
        assert np.isfinite(pool.push(ids, packets[0], arrived[0])).all()


@examples(30, few=6)
@given(
    seed=st.integers(0, 10_000),
    integer=st.booleans(),
    detect=st.booleans(),
    lookahead=st.integers(0, 1),
)
def test_missing_parts_and_dropouts_are_concealed_as_of_one_stream(
    seed: int, integer: bool, detect: bool, lookahead: int
) -> None:
    rng = np.random.default_rng(seed)
    streams = 5
    packets = packets_of(streams, np.int16 if integer else np.float32)
    around: dict[str, Any] = {"method": "burg:5/30", "lookahead": lookahead, "seed": 3}
    around["detect_dropouts"] = detect
    pool = ConcealerPool(threads=2)
    ids = pool.open(streams, **FORMAT, **around)
    alone = [Concealer(**FORMAT, **(around | {"seed": 3 + k})) for k in range(streams)]
    for tick in range(TICKS):
        given_packets = packets[tick].copy()
        for k in np.flatnonzero(rng.random(streams) < 0.2).tolist():
            begin, stop = np.sort(rng.integers(0, PACKET + 1, 2))
            given_packets[k, begin:stop] = 0  # a dropout, whole or in part
        missing = {k: parts_of(rng) for k in range(streams) if rng.random() < 0.3}
        there = rng.random(streams) > 0.2
        order = rng.permutation(streams)
        budget_ms = np.inf if tick % 2 else 1e9
        played = pool.push(
            ids[order],
            given_packets[order],
            there[order],
            missing={at: missing[k] for at, k in enumerate(order.tolist()) if k in missing},
            budget_ms=budget_ms,
        )
        for at, k in enumerate(order.tolist()):
            packet = given_packets[k] if there[k] else None
            expected = alone[k].push(packet, missing=missing.get(k, ()) if there[k] else ())
            if expected.dtype == played.dtype:
                np.testing.assert_array_equal(played[at], expected)
    for stats, one in zip(pool.stats(ids), alone, strict=True):
        assert stats.as_dict()["detected_dropouts"] == one.stats.detected_dropouts
        assert stats.partial_packets == one.stats.partial_packets
        assert stats.concealed_samples == one.stats.concealed_samples
        assert (stats.detected_dropouts > 0) == detect
    pool.close()


def parts_of(rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return one or two parts of a packet."""
    ends = np.sort(rng.choice(PACKET + 1, 2 * int(rng.integers(1, 3)), replace=False)).tolist()
    return list(zip(ends[::2], ends[1::2], strict=True))


def test_threads_share_the_search_for_dropouts(monkeypatch: pytest.MonkeyPatch) -> None:
    with ConcealerPool(threads=2) as pool:
        ids = pool.open(2, **FORMAT, model="ar", detect_dropouts=True)
        meet = threading.Barrier(2)

        def look_through(*_: object) -> tuple[bool, tuple[()]]:
            meet.wait(10.0)  # for the other stream's search, on another thread
            return True, ()

        monkeypatch.setattr(DropoutFinder, "look_through", look_through)
        pool.push(ids, packets_of(2)[0], np.ones(2, bool))


def test_a_stream_begun_anew_searches_its_dropouts_anew() -> None:
    pool = ConcealerPool()
    one, other = (
        pool.open(1, **FORMAT, detect_dropouts=True),
        pool.open(1, **FORMAT, detect_dropouts=True),
    )
    packets = packets_of(1)
    packets[20:, :, 30:90] = 0.0
    everything = np.ones(1, bool)
    for tick in range(TICKS):
        pool.push(one, packets[tick], everything)
    pool.reset(one)
    for tick in range(TICKS):
        again = pool.push(one, packets[tick], everything)
        np.testing.assert_array_equal(again, pool.push(other, packets[tick], everything))
    assert pool.stats(one)[0].detected_dropouts == pool.stats(other)[0].detected_dropouts > 0
    pool.close(one)
    assert len(pool._shelves.finders) == 1


def test_server_is_a_method_of_single_streams_too() -> None:
    signal = speech(16_000, 1)
    packets = signal[: len(signal) // 320 * 320].reshape(-1, 1, 320, 1)
    lost = np.random.default_rng(1).random(len(packets)) < 0.2
    settings: dict[str, Any] = {"sample_rate": 16_000, "packet_samples": 320}
    pool, alone = ConcealerPool(), Concealer(**settings, method="server", budget_ms=np.inf)
    hurried = Concealer(**settings, method="server")
    hurried.hurry(0.001)
    ids = pool.open(1, **settings)
    for packet, gone in zip(packets, lost, strict=True):
        given_packet = None if gone else packet[0]
        played = pool.push(ids, packet, ~gone[None])
        np.testing.assert_array_equal(played[0], alone.push(given_packet))
        hurried.push(given_packet)
    assert alone.stats.rung_samples["network:speech"] > 0
    assert hurried.stats.rung_samples["network:speech"] == 0
    assert hurried.describe()["networks"]["speech"]["mode"] == "step"
