"""In which order packets are decoded, where those behind a hole are known before their turn."""

import math
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.transport.rtp.codecs import G722, Codec, Opus
from plc.transport.rtp.delay import DelayConfig
from plc.transport.rtp.libopus import LibopusDecoder
from plc.transport.rtp.packets import RedBlock, RtpPacket, build_red, build_rtp
from plc.transport.rtp.playout import Playout, _Decoded
from tests.plc.configs import playout_of
from tests.plc.transport.streams import Incoming, fixed
from tests.signals import content

pytest.importorskip("av", reason="PyAV is not installed")
PACKET_S = 0.02
RED = 99

Found = NDArray[np.float32] | None


class Noted:
    """Note what each payload became, as the last time it was decoded, in order."""

    def __init__(
        self, codec: Codec, payloads: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.order: list[int] = []
        self.copies: list[int] = []
        self.samples: dict[int, Found] = {}
        numbers = {payload: k for k, payload in enumerate(payloads)}
        decode, decode_repeated = codec.decode, codec.decode_repeated

        def noted(payload: bytes) -> Found:
            self.order.append(numbers[payload])
            self.samples[numbers[payload]] = decode(payload)
            return self.samples[numbers[payload]]

        def noted_repeated(payload: bytes, offset: int) -> Found:
            found = decode_repeated(payload, offset)
            self.copies.append(numbers[payload] - 1)
            self.samples[numbers[payload] - 1] = found
            return found

        monkeypatch.setattr(codec, "decode", noted)
        monkeypatch.setattr(codec, "decode_repeated", noted_repeated)


def opened(name: str, bit_rate: int = 24_000) -> Codec:
    if name == "g722":
        return G722()
    if LibopusDecoder.open(1) is None:
        pytest.skip("libopus is not installed (Debian: libopus0)")
    return Opus(1, bit_rate, expected_loss=0.2)


def coded(name: str, seconds: float, bit_rate: int = 24_000) -> list[bytes]:
    coder = opened(name, bit_rate)
    size = round(PACKET_S * coder.sample_rate)
    signal = content("speech", coder.sample_rate, round(seconds / PACKET_S) * size)
    return [coder.encode(each) for each in signal.reshape(-1, size, 1)]


def decoded(
    payloads: list[bytes],
    arrivals: Iterable[tuple[float, int]],
    codec: Codec,
    monkeypatch: pytest.MonkeyPatch,
    *,
    behind: bool = True,
    delay: DelayConfig | None = None,
    copies: int = 0,
) -> tuple[Noted, Playout]:
    """Play packets that come at these times, by number, each with a copy of one before."""
    size = round(PACKET_S * codec.sample_rate)
    noted = Noted(codec, payloads, monkeypatch)
    playout = playout_of(
        codec,
        size // 2,
        delay or DelayConfig(),
        model="ar",
        budget_ms=math.inf,
        red_payload_type=RED,
    )
    if not behind:
        monkeypatch.setattr(_Decoded, "behind", lambda *_: [])
    incoming = Incoming(arrivals)
    for tick in range(2 * len(payloads) + 40):
        for at_s, k in incoming.until(tick * PACKET_S / 2):
            kind, payload = codec.payload_type, payloads[k]
            ticks = size * k // (2 if codec.name == "g722" else 1)
            if copies and k >= copies:
                apart = ticks * copies // k
                blocks = RedBlock(kind, apart, payloads[k - copies]), RedBlock(kind, 0, payload)
                kind, payload = RED, build_red(list(blocks))
            playout.put(build_rtp(RtpPacket(kind, k, ticks, 5, payload)), at_s)
        playout.tick(tick * PACKET_S / 2)
    monkeypatch.undo()
    return noted, playout


def lossy(count: int, jitter_s: float, seed: int = 2) -> list[tuple[float, int]]:
    """Return arrivals of packets, two or three lost in a row, some with one between."""
    rng = np.random.default_rng(seed)
    lost = np.zeros(count, np.bool_)
    for k in range(20, count - 10, 9):
        lost[k : k + int(rng.integers(2, 4))] = True
        lost[k + 4] = rng.random() < 0.5
    late_s = rng.exponential(jitter_s, count) if jitter_s else np.zeros(count)
    return [(PACKET_S * k + float(late_s[k]), k) for k in np.flatnonzero(~lost).tolist()]


def assert_alike(one: Noted, other: Noted) -> None:
    assert one.samples.keys() == other.samples.keys()
    for k, samples in one.samples.items():
        np.testing.assert_array_equal(samples, other.samples[k], err_msg=f"packet {k}")


@pytest.mark.parametrize("name", ["opus", "g722"])
@pytest.mark.parametrize("waits_ms", [20.0, 60.0, 100.0])
def test_packets_behind_a_hole_are_decoded_once_and_in_turn(
    name: str, waits_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = coded(name, 4.0, 64_000)
    given = payloads, lossy(len(payloads), 0.0)
    knowing, _ = decoded(*given, opened(name), monkeypatch, delay=fixed(waits_ms))
    waiting, _ = decoded(*given, opened(name), monkeypatch, behind=False, delay=fixed(waits_ms))
    assert knowing.order == waiting.order == sorted({k for _, k in given[1]})
    assert_alike(knowing, waiting)


@pytest.mark.parametrize(
    ("name", "copies"),
    [("opus", 0), ("opus", 1), ("opus", 2), ("opus", 3), ("g722", 0), ("g722", 2)],
)
def test_a_packet_that_comes_after_those_behind_it_is_decoded_where_it_stands(
    name: str, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = coded(name, 6.0)
    given = payloads, lossy(len(payloads), 0.015)
    knowing, playout = decoded(*given, opened(name), monkeypatch, delay=fixed(40.0), copies=copies)
    waiting, _ = decoded(
        *given, opened(name), monkeypatch, delay=fixed(40.0), copies=copies, behind=False
    )
    again = len(knowing.order) - len(set(knowing.order))
    assert playout.received.reordered_packets > 5
    assert 0 < again < 0.15 * len(payloads)
    assert_alike(knowing, waiting)
