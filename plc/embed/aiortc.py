"""Audio tracks of aiortc that conceal: ``ConcealedTrack(track)`` in the place of ``track``.

aiortc decodes what arrives. A packet that does not leaves no frame and no silence: the next frame
follows at once, and only its ``pts`` tells that time has passed; whoever plays or records the
frames one after the other shortens the stream by every loss. A concealed track has all frames::

    @connection.on("track")
    def on_track(track):
        recorder.addTrack(ConcealedTrack(track) if track.kind == "audio" else track)

A gap is concealed when the frame after it comes, which is when aiortc knows of it. aiortc's own
buffer holds 16 packets back from the first loss on (320 ms), and drops up to four good packets
before each lost one; those are concealed, too.
"""

import asyncio
from collections import deque
from fractions import Fraction
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from plc.engine.stream.concealer import Concealer
from plc.engine.stream.config import StreamConfig, StreamSettings
from plc.engine.stream.samples import Packet
from plc.engine.stream.stats import Stats
from plc.errors import ConfigError, MissingExtraError, PacketError, not_copied
from plc.extras import install_command
from plc_kernels.signal.packet import LARGEST

try:
    from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
    from av import AudioFrame
except ImportError as _error:
    raise MissingExtraError(
        f"plc.embed.aiortc needs {_error.name}: {install_command('rtp')}"
    ) from _error

# Time stamps that are rounded to a millisecond leave no gap.
_TOLERANCE_S = 1.5e-3
# Frames of this length are concealed as they are; the line is cut otherwise where they are not.
_LONGEST_GRAIN_S = 0.06
_SHORTEST_GRAIN_S = 0.0025
_GRAIN_S = 0.02
# In samples: time stamps beyond it, which are no stream's, say nothing.
_FARTHEST = 1 << 62
# How PyAV's sample formats become what the engine takes: its dtype, and full scale.
_FORMATS: dict[str, tuple[Any, float]] = {
    "u8": (np.float32, 128.0),
    "s16": (np.int16, 1.0),
    "s32": (np.float32, 2147483648.0),
    "flt": (np.float32, 1.0),
    "dbl": (np.float32, 1.0),
}


class ConcealedTrack(MediaStreamTrack):
    """An audio track without the gaps of another one.

    Parameters
    ----------
    track : MediaStreamTrack
        An audio track, remote or not. Its frames may have any length, rate and number of channels
        up to eight; those that come out are of one length, that of the first one if that is 2.5 to
        60 ms, else 20 ms.
    max_gap_s : float
        A longer gap, or a jump back by more than that, is a new beginning: nothing is concealed.
    lookahead : int
        Frames by which the output is delayed, so that the end of a gap is known.
    **settings
        As for :class:`~plc.Concealer`.

    Raises
    ------
    ConfigError
        If the track is not one of audio, or ``max_gap_s`` is out of range.

    Notes
    -----
    ``recv`` gives frames of 16 bit or float samples, as they came, interleaved, with ``pts`` in
    samples. It raises ``MediaStreamError`` when the other track has ended and what the lookahead
    held has been given.
    """

    kind = "audio"

    __reduce_ex__ = not_copied("make another of the same track")

    def __init__(
        self,
        track: MediaStreamTrack,
        *,
        max_gap_s: float = 2.0,
        lookahead: int = 0,
        **settings: Unpack[StreamSettings],
    ) -> None:
        super().__init__()
        if track.kind != "audio":
            raise ConfigError(f"the track is one of {track.kind}; this conceals audio")
        if not 0.0 < max_gap_s <= 60.0:
            raise ConfigError(f"max_gap_s is {max_gap_s:g}; supported: above 0, up to 60 s")
        # What depends on the frames' format is refused when the first frame comes.
        StreamConfig(lookahead=lookahead, **settings)
        self._track = track
        self._max_gap_s = max_gap_s
        self._lookahead = lookahead
        self._settings = settings
        self._concealer: Concealer | None = None
        self._format: tuple[int, str, Any] | None = None
        self._ready: deque[AudioFrame] = deque()
        self._line: Packet = np.zeros((0, 1), np.float32)
        self._there = np.zeros(0, np.bool_)
        self._position = 0
        self._behind = 0
        self._ended = False
        self.late_frames = 0
        """Of which nothing was left to play: they, or something instead, had been already."""
        self.restarts = 0
        """Times that the line began anew: another format, or a jump."""

    @property
    def stats(self) -> Stats:
        """Statistics of the concealer for the present format."""
        return Stats() if self._concealer is None else self._concealer.stats

    def stop(self) -> None:
        """Stop this track and the other one."""
        super().stop()
        self._track.stop()
        self._close()

    def _close(self) -> None:
        if self._concealer is not None:
            self._concealer.close()

    async def recv(self) -> AudioFrame:
        """Return the next frame."""
        if self.readyState != "live":
            raise MediaStreamError
        while not self._ready:
            if self._ended:
                self.stop()
                raise MediaStreamError
            try:
                frame = await self._track.recv()
            except MediaStreamError:
                self._ended = True
                self._flush()
                continue
            await self._take(frame)
        return self._ready.popleft()

    async def _take(self, frame: Any) -> None:
        """Place a frame by its time stamp; conceal the gap before it."""
        samples = samples_of(frame)
        if not len(samples):
            return
        form = (frame.sample_rate, frame.layout.name, samples.dtype)
        if form != self._format:
            await self._begin(form, samples)
            self._position = self._start(frame)
        end = self._position + len(self._line)
        gap = self._gap(frame, end)
        if gap is None:
            self._restart(self._start(frame))
            gap = 0
        if gap < 0:
            self.late_frames += len(samples) <= -gap
            samples = samples[-gap:]
            gap = 0
        nothing = np.zeros((gap, samples.shape[1]), samples.dtype)
        self._line = np.concatenate([self._line, nothing, samples])
        self._there = np.concatenate(
            [self._there, np.zeros(gap, np.bool_), np.ones(len(samples), np.bool_)]
        )
        self._cut()

    def _start(self, frame: Any) -> int:
        if frame.pts is None:
            return self._position + len(self._line)
        base = frame.time_base or Fraction(1, frame.sample_rate)
        unit = Fraction(base.numerator, base.denominator)
        start: int = round(frame.pts * unit * frame.sample_rate)
        return start if abs(start) < _FARTHEST else self._position + len(self._line)

    def _gap(self, frame: Any, end: int) -> int | None:
        """Return how many samples are missing before a frame; None if it is a new beginning."""
        gap = self._start(frame) - end
        if abs(gap) <= _TOLERANCE_S * frame.sample_rate:
            return 0
        return gap if abs(gap) <= self._max_gap_s * frame.sample_rate else None

    async def _begin(self, form: tuple[int, str, Any], samples: Packet) -> None:
        self.restarts += self._format is not None
        self._flush()
        self._close()
        rate, _, dtype = form
        grain = len(samples)
        if not _SHORTEST_GRAIN_S * rate <= grain <= _LONGEST_GRAIN_S * rate:
            grain = round(_GRAIN_S * rate)
        self._concealer = await asyncio.to_thread(
            Concealer,
            sample_rate=rate,
            channels=samples.shape[1],
            packet_samples=grain,
            lookahead=self._lookahead,
            **self._settings,
        )
        self._format = form
        self._line = np.zeros((0, samples.shape[1]), dtype)
        self._there = np.zeros(0, np.bool_)

    def _restart(self, position: int) -> None:
        """Begin a new time line; drop an incomplete packet of the old one."""
        self.restarts += 1
        self._flush()
        self._line = self._line[:0]
        self._there = self._there[:0]
        self._position = position

    def _cut(self) -> None:
        assert self._concealer is not None
        n, ahead = self._concealer.config.packet_samples, self._concealer.behind_samples
        while len(self._line) >= n:
            grain = self._line[:n] if self._there[:n].all() else None
            # Behind a hole stands the frame that told of it, which is lost, too, if it is no sound.
            there = np.flatnonzero(self._there[n : n + ahead if grain is None else n])[:1]
            known = [(first, self._line[n + first : n + ahead]) for first in there.tolist()]
            behind = [each for each in known if np.abs(each[1]).max() < LARGEST]
            played = self._concealer.push(grain, behind=behind)
            self._line = self._line[n:]
            self._there = self._there[n:]
            self._position += n
            if self._behind < self._concealer.delay:
                self._behind += n
            else:
                self._give(played, self._position - n - self._concealer.delay)

    def _flush(self) -> None:
        concealer = self._concealer
        if concealer is None or not self._behind:
            return
        tail = concealer.flush()[concealer.delay - self._behind :]
        n = concealer.config.packet_samples
        for begin in range(0, len(tail), n):
            self._give(tail[begin : begin + n], self._position - len(tail) + begin)
        self._behind = 0

    def _give(self, samples: Packet, position: int) -> None:
        assert self._format is not None
        rate, layout, dtype = self._format
        # Before anything has arrived the engine gives floats, of silence.
        samples = np.ascontiguousarray(samples, dtype)
        form = "s16" if dtype == np.int16 else "flt"
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format=form, layout=layout)
        frame.sample_rate = rate
        frame.pts = position
        frame.time_base = Fraction(1, rate)
        self._ready.append(frame)


def samples_of(frame: Any) -> NDArray[np.int16] | NDArray[np.float32]:
    """Return a frame's samples, shape (n, channels): int16 for 16 bit, else float32.

    Raises
    ------
    PacketError
        If it is no frame of audio, or of a sample format that is not known.
    """
    if not isinstance(frame, AudioFrame):
        raise PacketError(f"the track gave {type(frame).__name__}; expected decoded audio frames")
    name = frame.format.name
    kind = name.removesuffix("p")
    if kind not in _FORMATS:
        raise PacketError(f"samples are {name}; supported: {', '.join(_FORMATS)}, planar or not")
    values = frame.to_ndarray()
    channels = len(frame.layout.channels)
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    dtype, scale = _FORMATS[kind]
    if kind == "u8":
        values = values.astype(np.float32) - 128.0
    if scale != 1.0:
        values = values / scale
    return np.ascontiguousarray(values, dtype)
