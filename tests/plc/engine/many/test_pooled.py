"""Many streams whose networks ONNX Runtime runs: together, in time, and each for itself."""

import math
import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc import Concealer, ConcealerPool
from plc.engine.loss import GilbertElliott
from plc.engine.models.manifest import Manifest
from plc.engine.runtime import worker
from plc.engine.runtime.onnx_network import NetworkShape, network_signature
from plc.engine.stream import outside
from plc.engine.stream.outside import Batches, OutsideNetworks
from tests.signals import tones, voice

RATE, PACKET, STREAMS, TURNS = 16_000, 320, 8, 60
LOST = np.stack([GilbertElliott(0.3, 2.0).trace(TURNS, 5 + k) for k in range(STREAMS)], 1)
FORMAT: dict[str, Any] = {
    "sample_rate": RATE,
    "packet_samples": PACKET,
    "content": "speech",
    "provider": "cpu",
}


def _signals(music: bool = False) -> NDArray[np.float32]:
    """Return packets, shape (turns, streams, samples, 1)."""
    seconds = TURNS * PACKET / RATE
    made = [
        tones(k, RATE, TURNS * PACKET) if music else voice(RATE, seconds, 100.0 + 15.0 * k, 1.0)
        for k in range(STREAMS)
    ]
    return np.stack([each.reshape(TURNS, PACKET, 1) for each in made], 1)


def _play(
    pool: ConcealerPool, ids: NDArray[np.int64], packets: NDArray[np.float32], **how: Any
) -> NDArray[Any]:
    turns = zip(packets, ~LOST[: len(packets)], strict=True)
    return np.stack([pool.push(ids, given, there, **how) for given, there in turns], 1)


def _counted(pool: ConcealerPool, ids: NDArray[np.int64], name: str) -> int:
    return sum(getattr(each.network, name) for each in pool.stats(ids))


@pytest.mark.parametrize(
    ("music", "settings"),
    [
        (False, {"method": "auto"}),
        (False, {"method": "server"}),
        (False, {"method": "auto", "lookahead": 2}),
        (True, {"method": "auto", "content": "music"}),
    ],
)
def test_a_pool_plays_what_its_streams_would_alone_in_fewer_runs(
    monkeypatch: pytest.MonkeyPatch, music: bool, settings: dict[str, Any]
) -> None:
    runs: list[int] = []
    run = Batches.run

    def noting(batches: Batches, *arrays: Any) -> bool:
        runs.append(len(arrays[0]))
        return run(batches, *arrays)

    monkeypatch.setattr(Batches, "run", noting)
    packets = _signals(music)
    alone = []
    for k in range(STREAMS):
        unlimited: dict[str, Any] = {"budget_ms": math.inf, "prepare": "never", "seed": k}
        with Concealer(**(FORMAT | settings | unlimited)) as one:
            given = zip(packets[:, k], LOST[:, k], strict=True)
            alone.append([one.push(None if gone else each) for each, gone in given])
    with ConcealerPool(threads=2) as pool:
        ids = pool.open(STREAMS, **(FORMAT | settings))
        runs.clear()  # those that it was measured with
        played = _play(pool, ids, packets)
        asked = _counted(pool, ids, "network_runs")
        assert _counted(pool, ids, "network_done") == asked == sum(runs)
        assert all(each.network.network_done for each in pool.stats(ids))
    assert asked > 20
    assert len(runs) < 0.8 * asked
    apart = float(np.sum((played - np.array(alone)) ** 2) / np.sum(played**2))
    # Sums of a batch have another order.
    assert 10.0 * math.log10(apart + 1e-30) < -50.0


def test_a_session_that_is_late_plays_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    wakes = threading.Event()

    def sleep(*_: object) -> bool:
        return wakes.wait(60.0)

    packets = _signals()
    with ConcealerPool() as pool:
        ids = pool.open(STREAMS, **FORMAT)
        monkeypatch.setattr(Batches, "run", sleep)
        # So long that no burst is hurried: that is waited once, by those that lose a packet first.
        played = _play(pool, ids, packets[:20], budget_ms=400.0)
        first = int(LOST[:20].any(axis=1).argmax())
        assert _counted(pool, ids, "network_late") == np.count_nonzero(LOST[first])
        assert _counted(pool, ids, "network_refused") > 0
        assert _counted(pool, ids, "network_done") == 0
        assert not any(each.rung_samples.get("network:speech") for each in pool.stats(ids))
        assert np.isfinite(played).all()
        made = played[:, :20][LOST[:20].T]
        assert np.sqrt(np.mean(made**2)) > 0.3 * np.sqrt(np.mean(packets[:20] ** 2))
        wakes.set()


def test_a_burst_has_what_answers_leave_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    packets = _signals()
    with ConcealerPool() as pool:
        ids = pool.open(1, **FORMAT)
        (one,) = pool._formats.values()
        quick_s = one.answer_s
        assert 0.0 < quick_s < 0.2
        for given in packets[:10, :1]:
            pool.push(ids, given, np.ones(1, bool))
        # A processor that takes half of the time to fit: 0.4 of it are too few.
        one.burst_s = 0.5
        pool.push(ids, packets[10, :1], np.zeros(1, bool), budget_ms=1000.0)
        assert _counted(pool, ids, "network_done") == 1
        # What is late leaves less to the next fit, what did not run tells nothing.
        one.burst_s = 0.0
        monkeypatch.setattr(Batches, "run", lambda *_: time.sleep(0.3))
        for given in packets[11:20, :1]:
            pool.push(ids, given, np.ones(1, bool))
        pool.push(ids, packets[20, :1], np.zeros(1, bool), budget_ms=100.0)
        assert _counted(pool, ids, "network_late") == 1
        slow_s = one.answer_s
        assert slow_s > quick_s
        pool.push(ids, packets[21, :1], np.zeros(1, bool), budget_ms=100.0)
        assert _counted(pool, ids, "network_late") == 1
        assert one.answer_s == slow_s
        assert one.fitted_by(1.0, 2.0) == pytest.approx(1.85 - slow_s)
        one.answer_s = 1.0
        assert one.fitted_by(1.0, 2.0) == 1.4


def test_an_answer_that_is_not_sound_costs_one_stream_its_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Batches.run

    def spoil(batches: Batches, spectra: Any, lost: Any, out: Any) -> bool:
        done = run(batches, spectra, lost, out)
        out[0] = np.nan
        return done

    packets = _signals()
    with ConcealerPool() as pool:
        ids = pool.open(STREAMS, **FORMAT)
        monkeypatch.setattr(Batches, "run", spoil)
        for given in packets[:10]:
            pool.push(ids, given, np.ones(STREAMS, bool))
        played = pool.push(ids, packets[10], np.zeros(STREAMS, bool))
        assert np.isfinite(played).all()
        done = [each.network.network_done for each in pool.stats(ids)]
        assert sorted(done) == [0] + [1] * (STREAMS - 1)
        assert _counted(pool, ids, "network_failed") == 1


def test_more_streams_than_a_batch_holds_share_several_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outside, "MOST_STREAMS", 4)
    monkeypatch.setattr(outside, "_CPU_SIZES", (2, 4))
    packets = _signals()[:11]
    played: list[NDArray[Any]] = []
    for one_by_one in (False, True):
        with ConcealerPool() as pool:
            ids = pool.open(STREAMS, **FORMAT)
            for given in packets[:-1]:
                pool.push(ids, given, np.ones(STREAMS, bool))
            lost = np.zeros(STREAMS, bool)
            parts = np.split(np.arange(STREAMS), STREAMS if one_by_one else 1)
            made = [pool.push(ids[part], packets[-1][part], lost[part]) for part in parts]
            assert _counted(pool, ids, "network_done") == STREAMS
            played.append(np.concatenate(made))
    np.testing.assert_allclose(played[0], played[1], atol=1e-4)


def test_a_call_that_was_interrupted_leaves_streams_that_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    packets = _signals()
    with ConcealerPool() as pool:
        ids = pool.open(STREAMS, **FORMAT)
        for given in packets[:10]:
            pool.push(ids, given, np.ones(STREAMS, bool))
        with monkeypatch.context() as patch:
            patch.setattr(OutsideNetworks, "answer", interrupt)
            with pytest.raises(KeyboardInterrupt):
                pool.push(ids, packets[10], np.zeros(STREAMS, bool))
        assert np.isfinite(_play(pool, ids, packets)).all()
        assert _counted(pool, ids, "network_done") > STREAMS


def test_streams_go_on_from_a_snapshot_with_their_provider() -> None:
    packets, key = _signals(), b"0123456789abcdef"
    with ConcealerPool() as pool, ConcealerPool() as other:
        ids = pool.open(STREAMS, **FORMAT)
        _play(pool, ids, packets[:20])
        moved = other.restore(pool.snapshot(ids, key), key)
        rest = packets[20:40]
        np.testing.assert_array_equal(_play(pool, ids, rest), _play(other, moved, rest))
        assert _counted(other, moved, "network_done") > 0


def test_the_threads_of_a_format_end_with_its_streams() -> None:
    pool = ConcealerPool()
    ids = pool.open(2, **FORMAT)
    (one,) = pool._formats.values()
    assert one.outside is not None
    workers = [each.worker for each in one.outside.networks.values()]
    assert [each.state for each in workers] == ["ready"]
    assert pool.prepare(10.0) == 0
    pool.close(ids)
    assert [each.state for each in workers] == ["closed"]


def test_a_gpu_has_few_sizes_and_is_kept_warm_between_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[int] = []
    warm = threading.Event()

    class OnGpu:
        """Answers with silence."""

        on_gpu = True

        def __init__(self, manifest: Manifest, shape: NetworkShape, **_: str) -> None:
            self.batch = shape.batch
            self._out = np.zeros(network_signature(manifest, shape).output[1], np.float32)
            opened.append(shape.batch)

        def answers(self, spectra: NDArray[np.float32], _: object) -> NDArray[np.float32]:
            return self._out[: len(spectra)]

        def keep_warm(self) -> None:
            warm.set()

        def cancel(self) -> None: ...

    monkeypatch.setattr(outside, "open_network", OnGpu)
    monkeypatch.setattr(worker, "KEEP_WARM_S", 0.0)
    packets = _signals()
    with ConcealerPool() as pool:
        ids = pool.open(STREAMS, **FORMAT, channels=1)
        assert opened == [1, 8, 64]
        warm.clear()
        for given in packets[:10]:
            pool.push(ids, given, np.ones(STREAMS, bool))
        assert warm.wait(60.0)
        pool.push(ids, packets[10], np.zeros(STREAMS, bool))
        assert _counted(pool, ids, "network_done") == STREAMS
