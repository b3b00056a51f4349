import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from plc.engine.loss import GilbertElliott
from plc.engine.spans import gaps_of
from plc.engine.trace_files import read_trace
from plc.errors import TraceError
from plc_bench import traces
from plc_bench.cli import app
from tests.options import ran
from tests.processes import ROOT

pytest.importorskip("dpkt")
from plc.transport.rtp.capture import read_datagrams
from tests.plc.transport.rtp.test_capture import FRAMES, pcap, pcapng, stream

TRACES = ROOT / "bench" / "traces"

# What the files of the standard set say of themselves.
ABOUT = re.compile(
    r"Gilbert-Elliott, ([\d.]+) % loss, mean burst ([\d.]+) packets"
    r"(?:, none over (\d+))?, seed (\d+)"
)


def imported(tmp_path: Path, data: bytes, **settings: float) -> traces.Imported:
    path = tmp_path / "capture.pcap"
    path.write_bytes(data)
    return traces.import_capture(path, **settings)  # type: ignore[arg-type]


def lost_of(trace: NDArray[np.bool_]) -> list[int]:
    return np.flatnonzero(trace).tolist()


@pytest.mark.parametrize("link", FRAMES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_what_a_capture_lacks_is_lost(tmp_path: Path, link: int, order: str) -> None:
    numbers = [n for n in range(30) if n not in (4, 11, 12)]
    found = imported(tmp_path, pcap(stream(numbers), link, order))
    assert lost_of(found.trace) == [4, 11, 12]
    assert found.trace.size == 30
    assert (found.packet_samples, found.clock_hz, found.late) == (160, 8000, 0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_newer_format_is_read_too(tmp_path: Path, order: str) -> None:
    sent = stream([0, 1, *range(3, 20)])
    found = imported(tmp_path, pcapng(sent, order))
    assert lost_of(found.trace) == [2]
    times = [datagram.time_s for datagram in read_datagrams(tmp_path / "capture.pcap")]
    assert times == pytest.approx([one[0] for one in sent], abs=1e-6)


def test_sequence_numbers_wrap_and_packets_swap(tmp_path: Path) -> None:
    numbers = [65530, 65531, 65533, 65532, *range(65536, 65550), 65540]
    found = imported(tmp_path, pcap(stream(numbers)))
    assert lost_of(found.trace) == [4, 5]  # 65534 and 65535
    assert found.duplicates == 1


def test_a_late_packet_is_a_lost_packet(tmp_path: Path) -> None:
    sent = stream(list(range(20)))
    sent[5] = (sent[5][0] + 0.050, *sent[5][1:])
    sent[9] = (sent[9][0] + 0.030, *sent[9][1:])
    data = pcap(sorted(sent))
    assert not imported(tmp_path, data).trace.any()
    found = imported(tmp_path, data, deadline_ms=40.0)
    assert lost_of(found.trace) == [5]
    assert found.late == 1
    assert lost_of(imported(tmp_path, data, deadline_ms=20.0).trace) == [5, 9]


def test_the_longest_stream_is_taken_unless_another_is_named(tmp_path: Path) -> None:
    long, short = stream(list(range(30))), stream([*range(5), *range(6, 15)], ssrc=9)
    noise = [(100.0, b"\x00\x01 a STUN packet, or anything else", 3478)]
    data = pcap(sorted(long + short + noise))
    assert imported(tmp_path, data).trace.size == 30
    found = imported(tmp_path, data, ssrc=9)
    assert lost_of(found.trace) == [5]
    with pytest.raises(TraceError, match="no stream of SSRC 0x0000000b"):
        imported(tmp_path, data, ssrc=11)


def test_another_source_ends_the_trace(tmp_path: Path) -> None:
    found = imported(tmp_path, pcap(stream(list(range(20))) + stream(list(range(30000, 30010)))))
    assert found.trace.size == 20


def test_a_capture_without_rtp_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="holds no RTP stream"):
        imported(tmp_path, pcap([(0.0, b"hello", 80)]))


def test_the_command_writes_a_trace_that_reads_back(tmp_path: Path) -> None:
    source, target = tmp_path / "call.pcap", tmp_path / "call.trace"
    source.write_bytes(pcap(stream([0, *range(2, 20)])))
    result = ran(app, "trace", str(source), str(target), "--ssrc", "0x7")
    assert "20 packets, 1 lost (5.00 %), 0 of them late" in result.stdout
    assert lost_of(read_trace(target)) == [1]
    assert "each 20 ms long" in target.read_text()
    elsewhere = str(tmp_path / "other.trace")
    bad = CliRunner().invoke(app, ["trace", str(source), elsewhere, "--ssrc", "seven"])
    assert "--ssrc is seven" in str(bad.exception)


def test_the_standard_set_is_what_its_seeds_make() -> None:
    kept = sorted(TRACES.glob("ge-*.trace"))
    assert len(kept) == 19
    for path in kept:
        found = ABOUT.search(path.read_text())
        assert found is not None
        loss, mean_burst = float(found[1]) / 100.0, float(found[2])
        made = GilbertElliott(loss, mean_burst).trace(6000, int(found[4]))
        longest = int(found[3] or made.size)
        for start, stop in gaps_of(made, 1):  # of a longer burst every packet after these arrives
            made[start + longest : stop : longest + 1] = False
        trace = read_trace(path)
        np.testing.assert_array_equal(trace, made)
        bursts = np.count_nonzero(np.diff(trace, prepend=False) & trace)
        # Of few and long bursts, chance decides more.
        assert trace.mean() == pytest.approx(loss, rel=0.5)
        assert trace.sum() / bursts == pytest.approx(mean_burst, rel=0.35)


def test_alternating_losses_and_walls_are_what_their_seeds_make() -> None:
    alternating = read_trace(TRACES / "alternating-50pc.trace")
    made = GilbertElliott(0.5, 1.0 / 0.725).trace(6000, 1019)
    np.testing.assert_array_equal(alternating, made)
    assert np.corrcoef(alternating[1:], alternating[:-1])[0, 1] == pytest.approx(-0.45, abs=0.01)
    rng, walls = np.random.default_rng(1020), list[int]()
    while len(walls) < 6000:
        walls += [0] * int(rng.integers(60, 141))
        for _ in range(int(rng.integers(1, 4))):
            walls += [1] * int(rng.integers(8, 21)) + [0]
    np.testing.assert_array_equal(read_trace(TRACES / "walls-8-20.trace"), np.bool_(walls[:6000]))
