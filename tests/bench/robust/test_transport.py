import numpy as np

from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc_bench.robust.transport import cost, load, quality
from tests.signals import tones


def test_the_relay_conceals_as_well_as_the_engine_offline() -> None:
    delay = DelayConfig(mode=DelayMode.FIXED, delay_ms=60.0)
    result = quality(tones(1, 16_000, 48_000), 16_000, delay=delay)
    assert 15 <= result.lost_packets <= 50
    assert abs(result.nmse_db - result.offline_nmse_db) < 0.2
    assert result.nmse_db < -10.0
    assert result.missing_samples == 0
    assert result.delay_max_ms < 60.0 + 30.0
    assert result.stretch_ppm == 0.0


def test_an_undamaged_stream_is_not_scored() -> None:
    delay = DelayConfig(mode=DelayMode.FIXED, delay_ms=40.0)
    result = quality(tones(1, 16_000, 16_000), 16_000, loss=0.0, jitter_ms=0.0, delay=delay)
    assert result.lost_packets == 0
    assert not np.isfinite(result.nmse_db)


def test_what_a_relayed_packet_takes_is_timed_by_its_ends() -> None:
    result = cost(streams=2, seconds=0.3, loss=0.1, method="burg")
    assert 1.0 < result.receive_us < 5000.0
    assert 1.0 < result.send_us < 5000.0


def test_a_load_counts_what_was_sent_and_lost() -> None:
    result = load(streams=3, workers=1, seconds=3.0, loss=0.2, method="server")
    assert result.packets_sent > 100
    assert 0.05 < result.lost_share < 0.5
    assert 0.0 <= result.by_networks <= 1.0
