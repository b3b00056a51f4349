"""An aiortc track whose frames lie: time stamps that jump, formats that change, broken samples."""

import asyncio
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiortc")

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from plc.embed.aiortc import ConcealedTrack

RATE = 8000
N = 160


class Track(MediaStreamTrack):
    """Gives frames that were made before."""

    kind = "audio"

    def __init__(self, frames: list[Any]) -> None:
        super().__init__()
        self._frames = iter(frames)

    async def recv(self) -> Any:
        frame = next(self._frames, None)
        if frame is None:
            raise MediaStreamError
        return frame


def frame(
    pts: int | None, rate: int = RATE, layout: str = "mono", samples: int = N, value: float = 0.1
) -> Any:
    channels = 2 if layout == "stereo" else 1
    content = np.full((1, channels * samples), value, np.float32)
    made = AudioFrame.from_ndarray(content, format="flt", layout=layout)
    made.sample_rate, made.pts, made.time_base = rate, pts, Fraction(1, rate)
    return made


def received(frames: list[Any]) -> list[Any]:
    async def run() -> list[Any]:
        track = ConcealedTrack(Track(frames), method="ar")
        got = []
        while True:
            try:
                got.append(await track.recv())
            except MediaStreamError:
                return got

    return asyncio.run(run())


JUMPS = [0, 160, 2**31, 2**31 + 160, -(2**40), 2**62, 2**62 + 160, -(2**63), None, 5, 2**32]


def test_time_stamps_that_jump_begin_a_new_line_and_cost_nothing() -> None:
    got = received([frame(pts) for pts in JUMPS])
    assert len(got) == len(JUMPS)
    for each in got:
        assert np.abs(each.to_ndarray()).max() <= 0.11


def test_a_time_stamp_that_no_number_holds_is_passed_over() -> None:
    far = frame(2**62)
    far.time_base = Fraction(1000, 1)
    assert len(received([frame(0), far, frame(2 * N)])) == 3


def test_a_gap_is_no_longer_than_was_allowed() -> None:
    got = received([frame(k * (2 * RATE - 1)) for k in range(5)])
    assert len(got) <= 5 * (2 * RATE // N + 1)


def test_formats_that_change_with_every_frame_are_all_heard() -> None:
    forms = [(RATE, "mono"), (48_000, "stereo"), (16_000, "mono"), (RATE, "stereo")] * 3
    got = received([frame(0, *form, samples=form[0] // 50) for form in forms])
    assert [(each.sample_rate, each.layout.name) for each in got] == forms


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_samples_that_are_no_sound_do_not_come_out(value: float) -> None:
    frames = [frame(k * N, value=value if k % 3 == 2 else 0.1) for k in range(30)]
    got = np.concatenate([each.to_ndarray()[0] for each in received(frames)])
    assert np.isfinite(got).all()
    assert np.abs(got).max() < 1.0
