"""Streams that go on in another pool, or another process."""

import hmac
import json
import struct
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import plc
from plc import ConcealerPool
from plc.engine.stream import snapshots
from plc.errors import CapacityError, ConfigError, SnapshotError
from plc_kernels.stream.layout import HEADER
from tests.examples import examples
from tests.kernels.stream.test_networks import speech
from tests.signals import noise

KEY = bytes(range(16))
FORMAT: dict[str, Any] = {"sample_rate": 16_000, "packet_samples": 320}


def packets_of(streams: int) -> NDArray[np.float32]:
    """Return speech from another place for each stream, shape (ticks, streams, 320, 1)."""
    signal = speech(16_000, 1)
    signal = signal[: len(signal) // 320 * 320]
    rows = [np.roll(signal, -7919 * k).reshape(-1, 320, 1) for k in range(streams)]
    return np.stack(rows, axis=1)


def losses(ticks: int, streams: int) -> NDArray[np.bool_]:
    return np.random.default_rng(5).random((ticks, streams)) > 0.2


@pytest.mark.parametrize(
    "settings",
    [{}, {"method": "auto"}, {"model": "ar"}, {"lookahead": 1}, {"detect_dropouts": True}],
)
def test_a_stream_goes_on_in_another_pool(settings: dict[str, Any]) -> None:
    packets = packets_of(3)
    packets[50:90:8, 0, 100:200] = 0.0  # dropouts
    arrived = losses(len(packets), 3)
    here, there = ConcealerPool(), ConcealerPool(threads=2)
    there.open(5, **FORMAT, model="ar")
    ids = here.open(3, **FORMAT, **settings, seed=3)
    for tick in range(100):
        here.push(ids, packets[tick], arrived[tick])
        here.prepare(np.inf if tick % 2 else 0.0)
    moved = there.restore(here.snapshot(ids, KEY), KEY)
    assert [stats.packets for stats in there.stats(moved)] == [100] * 3
    for one, other in zip(here.stats(ids), there.stats(moved), strict=True):
        assert one.rung_samples == other.rung_samples
        assert one.detected_dropouts == other.detected_dropouts
    assert (here.stats(ids)[0].detected_dropouts > 0) == settings.get("detect_dropouts", False)
    for tick in range(100, len(packets)):
        played = there.push(moved, packets[tick], arrived[tick])
        np.testing.assert_array_equal(played, here.push(ids, packets[tick], arrived[tick]))
        here.prepare(np.inf if tick % 3 else 0.0)
    there.close()


@cache
def of_a_stream() -> bytes:
    """Return a snapshot."""
    pool = ConcealerPool()
    ids = pool.open(1, **FORMAT, model="ar")
    pool.push(ids, packets_of(1)[9], np.ones(1, bool))
    (snapshot,) = pool.snapshot(ids, KEY)
    return snapshot


def test_streams_of_several_formats_come_back_in_the_order_that_is_given() -> None:
    pool, other = ConcealerPool(), ConcealerPool()
    for rate in (8_000, 16_000, 8_000):
        for search in (False, True):
            own: dict[str, Any] = {
                "sample_rate": rate,
                "packet_samples": rate // 100,
                "detect_dropouts": search,
            }
            ids = pool.open(2, **own, method="ar")
            pool.push(ids, noise(rate, 2 * rate // 100).reshape(2, -1, 1), np.array([True, False]))
    ids = np.random.default_rng(0).permutation(pool._shelves.at.ids[pool._shelves.at.ids >= 0])
    given = pool.snapshot(ids, KEY)
    assert len(set(given)) > 6
    assert other.snapshot(other.restore(given, KEY), KEY) == given


@examples(200, few=40)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_what_was_changed_or_cut_is_refused(at: float, bit: int, cut: bool) -> None:
    whole = of_a_stream()
    changed, place = bytearray(whole), int(at * len(whole))
    changed[place] ^= 1 << bit
    pool = ConcealerPool()
    with pytest.raises(SnapshotError):
        pool.restore([whole, bytes(changed[:place] if cut else changed)], KEY)
    assert len(pool) == 0


def signed(signed_part: bytes) -> bytes:
    return signed_part + hmac.digest(KEY, signed_part, "sha256")


def with_head(**changes: Any) -> bytes:
    """Return the snapshot with another head, rightly signed."""
    whole = of_a_stream()
    (size,) = struct.unpack_from("<I", whole, 24)
    new = json.dumps(json.loads(whole[28 : 28 + size]) | changes).encode()
    return reframed(whole, new, whole[28 + size : -32])


def reframed(whole: bytes, head: bytes, body: bytes) -> bytes:
    """Return a snapshot with another head and body, rightly signed."""
    length = struct.pack("<QI", 28 + len(head) + len(body) + 32, len(head))
    return signed(whole[:16] + length + head + body)


def test_other_kernels_are_another_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    block = np.zeros(HEADER, np.int64)
    here = snapshots.layout_of(block)
    assert snapshots.layout_of(block) == here
    monkeypatch.setattr(snapshots, "SOURCES", bytes(32))
    assert snapshots.layout_of(block) != here


def test_what_another_version_or_layout_made_is_refused() -> None:
    pool = ConcealerPool()
    assert len(pool.restore([with_head()], KEY)) == 1
    for changes, message in [
        (
            {"plc": "0.0.9"},
            f"is of plc 0.0.9, this is {plc.__version__}: hand streams over between",
        ),
        ({"layout": "0" * 64}, "laid out otherwise than here"),
    ]:
        with pytest.raises(SnapshotError, match=message):
            pool.restore([with_head(), with_head(**changes)], KEY)
        assert len(pool) == 1
    with pytest.raises(SnapshotError, match="these 3 bytes are no snapshot of a stream"):
        pool.restore([b"abc"], KEY)
    for streams in (of_a_stream(), [5], ["abc"], [None]):
        with pytest.raises(SnapshotError, match=r"a snapshot is .*; give .* a list"):
            pool.restore(streams, KEY)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(SnapshotError, match="signed with another key"):
        pool.restore([of_a_stream()], KEY[::-1])


@examples(300, few=60)
@given(
    changes=st.dictionaries(
        st.sampled_from(["layout", "settings", "detected_dropouts", "state", "of", "plc", "more"]),
        st.none() | st.integers() | st.text(max_size=8) | st.dictionaries(st.text(), st.floats()),
        min_size=1,
    ),
    settings=st.dictionaries(
        st.sampled_from([*FORMAT, "channels", "method", "model", "lookahead", "seed", "tempo"]),
        st.none() | st.integers(-5, 5) | st.text(max_size=4) | st.floats() | st.just([1]),
    ),
    cut=st.integers(0, 40),
)
def test_what_is_signed_rightly_and_not_of_here_is_refused(
    changes: dict[str, Any], settings: dict[str, Any], cut: int
) -> None:
    """By one kind of error, whatever the other version wrote."""
    whole = of_a_stream()
    (size,) = struct.unpack_from("<I", whole, 24)
    head = json.loads(whole[28 : 28 + size])
    body = whole[28 + size : -32]
    told = head | changes
    if isinstance(told["settings"], dict):
        told["settings"] = head["settings"] | settings
    pool = ConcealerPool()
    for made in (
        reframed(whole, json.dumps(told).encode(), body),
        reframed(whole, json.dumps(head).encode()[: -cut or None], body[: -cut or None]),
        reframed(whole, b"\xff" * cut, body),
        signed(whole[:-32][:-cut] if cut else whole[:8]),
    ):
        try:
            pool.restore([made], KEY)
        except SnapshotError:
            assert len(pool) == 0
        else:  # nothing was changed that matters
            pool.close()


def test_a_refusal_says_which_it_is() -> None:
    whole, pool = of_a_stream(), ConcealerPool()
    changed = bytearray(whole)
    changed[-40] ^= 1
    for snapshot, key, why in [
        (whole[:-1], KEY, "cut or changed"),
        (whole[:20], KEY, "no snapshot of a stream, or cut"),
        (bytes(changed), KEY, "was changed on its way"),
        (whole, KEY[::-1], "signed with another key"),
        (b"plcsnap3" + whole[8:], KEY, "of another version of plc"),
        (with_head(of="Concealer"), KEY, "is of a stream of a Concealer, this is a ConcealerPool"),
        (with_head(settings={"tempo": 3}), KEY, "has other settings .*tempo is unknown"),
        (with_head(settings={"sample_rate": 7}), KEY, "has other settings .*sample_rate is 7"),
        (with_head(more=1), KEY, "head is of another version"),
        (with_head(plc=None), KEY, "head is of another version"),
    ]:
        with pytest.raises(SnapshotError, match=why):
            pool.restore([snapshot], key)
    assert len(pool) == 0


@pytest.mark.parametrize("key", [b"short", "a text of sixteen", None])
def test_a_key_is_secret_bytes(key: Any) -> None:
    pool = ConcealerPool()
    ids = pool.open(1, **FORMAT, model="ar")
    for call in (lambda: pool.snapshot(ids, key), lambda: pool.restore([of_a_stream()], key)):
        with pytest.raises(ConfigError, match="give 16 secret bytes or more"):
            call()


def test_streams_beyond_the_limit_are_not_restored() -> None:
    pool = ConcealerPool(limit=2)
    with pytest.raises(CapacityError):
        pool.restore([of_a_stream()] * 3, KEY)
    assert len(pool) == 0
