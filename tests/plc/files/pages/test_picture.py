import sys
from pathlib import Path

import numpy as np
import pytest

from plc.errors import AudioFileError, MissingExtraError
from plc.files.pages.picture import DETAIL_S, LossyClip, detail, draw, loudest_gap
from tests.signals import tones

RATE, PACKET = 16_000, 320


def stream(lost_packets: list[int], packets: int = 200) -> LossyClip:
    lost = np.zeros(packets, np.bool_)
    lost[lost_packets] = True
    return LossyClip(
        title="a test",
        original=tones(1, RATE, packets * PACKET - 7),
        lost=lost,
        sample_rate=RATE,
        packet_samples=PACKET,
    )


def test_the_picture_is_a_png_with_a_row_for_each_signal(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image", reason="comes with the extra plots")
    shown = stream([30, 31, 50, 90])
    silenced = shown.original.copy()
    silenced[30 * PACKET : 32 * PACKET] = 0
    draw(tmp_path / "one.png", shown, {"lossy": silenced})
    draw(tmp_path / "two.png", shown, {"lossy": silenced, "same": shown.original.copy()})
    one, two = (image.imread(tmp_path / name) for name in ("one.png", "two.png"))
    assert one.shape[1] == two.shape[1]
    assert two.shape[0] - one.shape[0] == pytest.approx((one.shape[0] - 100) / 2, abs=2)
    assert one[..., :3].std() > 0.1  # not blank


def test_nothing_lost_and_less_than_a_detail_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="comes with the extra plots")
    for name, shown in (("none.png", stream([])), ("short.png", stream([3], packets=5))):
        draw(tmp_path / name, shown, {"same": shown.original})
        assert (tmp_path / name).stat().st_size > 10_000


def test_the_detail_has_the_most_bursts_and_not_the_longest() -> None:
    lost = np.zeros(500, np.bool_)
    lost[20:60] = True
    lost[[300, 310, 320]] = True
    start, stop = detail(lost, PACKET, RATE, 500 * PACKET)
    assert start <= 300 * PACKET < 321 * PACKET <= stop
    assert stop - start == pytest.approx(DETAIL_S * RATE, abs=PACKET)


def test_the_gap_shown_is_the_loudest_within_the_detail() -> None:
    shown = stream([10, 11, 40, 70, 71, 72])
    shown.original[40 * PACKET : 41 * PACKET] *= 5
    shown.original[70 * PACKET : 73 * PACKET] *= 9
    assert loudest_gap(shown, 0, 200 * PACKET) == (70 * PACKET, 73 * PACKET)
    assert loudest_gap(shown, 0, 60 * PACKET) == (40 * PACKET, 41 * PACKET)


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[plots\]"):
        draw(tmp_path / "a.png", stream([3]), {})


def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="comes with the extra plots")
    with pytest.raises(AudioFileError, match="cannot write"):
        draw(tmp_path / "no" / "a.png", stream([3]), {})
