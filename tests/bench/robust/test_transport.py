import numpy as np

from plc.rtp.delay import DelayConfig, DelayMode
from plc_bench.robust.transport import quality
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
