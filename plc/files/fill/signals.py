"""Fill gaps of a recording from both sides, without a time limit.

Three qualities, each the start of the next, and a network that improves on the last two:

``fast``
    What a :class:`~plc.Concealer` with lookahead does, at an order and past that only an offline
    fit can afford: a forward and a backward prediction, each weighted by how well it meets the
    samples on the other side.
``good``
    Those are then replaced by the samples that leave the least prediction error over the gap and
    the ``order`` samples after it (:mod:`plc.files.fill.interpolate`), a linear system with the
    autocorrelation of the predictor as its matrix. A tone whose phase the two predictions disagree
    on is bent to meet both. Three predictors, of short and long contexts, interpolate each for
    itself, and the mean is taken: which context is the right one depends on the signal, and the
    errors of the three are not the same. In gaps of up to 25 ms five predictors are weighed by how
    well they interpolate known samples beside the gap.
``best``
    Gap-wise Janssen [1]_: the predictors, five of them, are fitted again with the gap filled
    by their mean, and interpolate once more. (Each iterating by itself, as in the papers, is
    0.5 dB worse than a single round on voices and at 40 ms gaps of instruments.) In gaps of up to
    25 ms they are the five of ``good``.

The network (:mod:`plc.files.fill.networks`) is given the result and each side's own
continuation, and weighs them bin by bin; it is trained with ``good``. Where the predictors agree
with each other it has nothing to add: their errors are then as small as the differences between
them.

The system is solved by its Cholesky factor and never regularised: at the peaks of a tonal
spectrum its eigenvalues are 1e-8 of its diagonal and below, and they are what carries the tones.

References
----------
.. [1] O. Mokrý and P. Rajmic, "Autoregressive audio inpainting: gap-wise and frame-wise", 2024,
   arXiv 2403.04433.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plc.engine.models.kinds import KINDS
from plc.engine.networks.gap_filler import GapFiller, Hints
from plc.engine.predict.baselines import Baseline
from plc.engine.predict.ladder import Rung
from plc.engine.predict.sides import SIDE_RUNG, fill_between
from plc.engine.predict.similar import REACH_S
from plc.engine.stream.config import OPEN, RecordingConfig, StreamConfig, check_content
from plc.engine.stream.methods import BASELINES, FILE_METHODS, RECORDING_METHODS, rung_of
from plc.engine.stream.samples import Packet, Samples, as_signal
from plc.engine.stream.warm import warm_up
from plc.errors import ConfigError, PacketError, check_settings, unknown
from plc.files.fill import interpolate as between
from plc.files.fill import joint, signal_background, spoken_background
from plc.files.fill.copied import LEAST_MS, Passages
from plc.files.fill.damaged_edges import widen
from plc.files.fill.gaps import (
    Gap,
    Track,
    as_rows,
    find_unsound,
    gaps_within,
    hold_between,
    holes_of,
    merge_gaps,
    tracks_of,
)
from plc.files.fill.guide import Guides, follow
from plc.files.fill.networks import kind_of_filler, open_gap_filler
from plc_kernels.signal.edges import EDGE_SAMPLES
from plc_kernels.signal.packet import INT16_SCALE

CONTEXT_S = 0.5
"""Longest context on each side of a gap, without a network."""


class FillKeywords(TypedDict, total=False):
    """Keywords of :class:`FillSettings`."""

    quality: str
    method: str
    model: str
    seed: int
    content: Literal["auto", "music", "speech"]


@dataclass(frozen=True, slots=True)
class FillSettings:
    """How gaps are filled, as :func:`inpaint` describes it.

    Raises
    ------
    ConfigError
        If the quality, the seed or the content is not possible.
    """

    quality: str = "good"
    method: str = "auto"
    model: str = "auto"
    seed: int = 0
    content: Literal["auto", "music", "speech"] = "auto"

    def __post_init__(self) -> None:
        """Check the settings."""
        if not isinstance(self.quality, str) or self.quality not in between.QUALITIES:
            raise ConfigError(unknown("quality", self.quality, between.QUALITIES))
        check_content(self.content)
        if not isinstance(self.model, str | Path):
            raise ConfigError(f"model is {self.model!r}; give a name, such as 'auto'")
        if not hasattr(self.seed, "__index__"):
            raise ConfigError(f"seed is {self.seed!r}; give an integer")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; expected at least 0")

    @property
    def context_s(self) -> float:
        """Return the context of a gap on either side, in seconds."""
        kind = kind_of_filler(self.method, self.model)
        if kind and KINDS[kind].context_s:
            return KINDS[kind].context_s
        refined = between.refines(self.quality, self.method)
        if refined and self.method == "auto" and self.model != "ar":
            return REACH_S
        return signal_background.LISTEN_S if self.predicts else CONTEXT_S

    @property
    def predicts(self) -> bool:
        """Return whether prediction fills long gaps, in speech over the background."""
        return self.method in ("auto", "ar") and not self.invents

    @property
    def invents(self) -> bool:
        """Return whether a network of its own method fills gaps, at any quality."""
        return kind_of_filler(self.method, self.model) in FILE_METHODS

    @property
    def copies(self) -> bool:
        """Return whether long gaps of music get similar passages of the recording."""
        wanted = self.predicts and self.method == "auto" and self.model != "ar"
        return wanted and between.refines(self.quality, self.method)

    def network(self, sample_rate: int) -> GapFiller | None:
        """Return the network that fills gaps; None for none."""
        if self.method not in ("auto", *FILE_METHODS):
            return None
        if not between.QUALITIES[self.quality].rounds and not self.invents:
            return None
        return open_gap_filler(self.method, self.model, sample_rate, self.content)


_Report = Callable[[int, int], None]
Copy = Callable[[NDArray[np.float32], Gap, NDArray[np.bool_]], None]
"""Copies a passage into a gap of rows with a draft, of which some samples were received."""
# Of an array, read at once.
_BLOCK_SAMPLES = 1 << 16
_OWN_KEYWORDS = "sample_rate", "packet_samples", "packet_ms", "progress"


def inpaint(
    signal: Packet | Samples,
    lost: ArrayLike,
    *,
    sample_rate: int = 48_000,
    packet_samples: int = OPEN,
    packet_ms: float = OPEN,
    made_up: NDArray[np.bool_] | None = None,
    progress: _Report | None = None,
    **settings: Unpack[FillKeywords],
) -> Packet:
    """Return a signal with its gaps filled; intact samples outside them are as they were.

    Up to 16 samples beside a gap that linear prediction shows to be damaged (muted, at full
    scale, or an isolated jump) count as lost and are filled, too.

    Parameters
    ----------
    signal : float32 or int16, shape (n,) or (n, channels)
        Samples, of numpy or of a library with its array protocol, such as torch. What stands where
        it is lost is not looked at.
    lost : bool, shape (packets,) or (n,), or a sequence of (start, stop)
        As for :func:`~plc.conceal`: a trace, a mask, or gaps in samples, stop excluded, in any
        order; overlapping ones are merged. A mask or trace of shape (…, channels) is by channel,
        and so is a gap of (start, stop, channels), channels counted from 0: what the others hold
        there stays as it is.
    sample_rate : int
        8000 to 768000 Hz. Above 192000 Hz linear prediction fills alone.
    packet_samples, packet_ms
        Of the packets of a trace, as for :class:`~plc.StreamConfig`.
    quality : str
        ``"fast"``, ``"good"`` or ``"best"``; only for the methods ``auto`` and ``ar``. Gaps
        of more than :data:`~plc.files.fill.interpolate.LONGEST_REFINED_GAP` samples are filled as
        by ``"fast"``.
    method : str
        ``auto``, ``ar``, ``burg:ORDER_MS/PAST_MS``, ``lpc``, ``pitch``, ``repeat``, ``magnitude``,
        ``zeros``, ``restore`` or ``gacela``. ``auto`` copies the most similar passage of the signal
        to gaps of 100 to 1500 ms in music, but not with quality ``"fast"``; others fade out and in,
        those of speech, by ``auto`` and ``ar``, over the noise of both sides. ``lpc`` sees 2048
        samples on each side, as in the paper. ``restore`` fills gaps of up to 256 ms as lost frames
        of a spectrogram, up to 8 kHz; above, and in longer gaps, it is ``ar``. ``gacela`` invents
        what may have been in a long gap of music, up to 11 kHz.
    model : str
        Network that improves on what ``"good"`` and ``"best"`` made, for the method ``auto``: the
        package's (``"auto"``), none (``"ar"``), or a name or path. ``"auto"`` uses none where ONNX
        Runtime is not installed. A model of ``restore`` or ``gacela`` chooses that method.
    seed : int
        Of what the method ``gacela`` invents, at least 0. By the method ``auto``, how many better
        places are passed over for what is copied to a long gap; without effect on others.
    content : str
        What plays, as for :class:`~plc.StreamConfig`; ``"auto"`` hears it on both sides of a gap.
    made_up : bool, shape of ``signal``, optional
        Written: True where samples were filled, damaged ones beside a gap among them.
    progress : callable, optional
        Called after each gap with the gaps filled and the gaps in all.

    Returns
    -------
    float32 or int16, shape of ``signal``
        An array of numpy, and a copy.

    Raises
    ------
    PacketError
        If the signal's shape or dtype is not one of the above, or it holds NaN outside the gaps.
    TraceError
        If a trace is not of the signal's packets, or no trace.
    ConfigError
        If a gap, the quality or the method is not possible.
    ModelError, MissingExtraError
        If a model that was asked for cannot be used.

    Examples
    --------
    >>> song = np.sin(np.arange(44_100, dtype=np.float32))
    >>> whole = inpaint(song, [(20_000, 20_500)], sample_rate=44_100)
    >>> whole.shape, bool(np.array_equal(whole[:20_000], song[:20_000]))
    ((44100,), True)
    """
    check_settings("inpaint", settings, (*_OWN_KEYWORDS, *FillKeywords.__annotations__))
    signal = as_signal(signal)
    stream = RecordingConfig(
        sample_rate=sample_rate, packet_samples=packet_samples, packet_ms=packet_ms
    )
    how = FillSettings(**settings)
    samples, channels = signal.shape[0], signal.size // signal.shape[0]
    if made_up is not None and (len(made_up), made_up.size) != (samples, signal.size):
        raise PacketError(f"made_up has shape {made_up.shape}; give {signal.shape}, as the signal")
    holes = holes_of(lost, samples, channels, stream.packet_samples)
    tracks = tracks_of(holes, samples, channels)
    out = signal.copy()
    by_channel, filled = out.reshape(samples, -1), signal.reshape(samples, -1)
    done, total = 0, sum(len(track.gaps) for track in tracks)
    passages = Passages(sample_rate, tracks, partial(_blocks, filled), how.seed, how.content)
    for track in tracks:
        where, gaps = track
        own = filled[:, where]
        spans = [gap.span for gap in widen(own, gaps, stream.sample_rate)]

        def report(count: int, _: int, before: int = done) -> None:
            if progress is not None:
                progress(before + count, total)

        by_channel[:, where] = fill_gaps(
            own,
            stream.sample_rate,
            spans,
            how,
            Around(
                guides=guides_of(filled, 0, tracks, where) if gaps else None,
                copy=partial(passages.fill, track, 0) if how.copies else None,
            ),
            report,
        )
        done += len(gaps)
        if made_up is not None:
            marks = made_up if made_up.ndim > 1 else made_up[:, None]
            marks[:, where] = False
            for start, stop in spans:
                marks[start:stop, where] = True
    return out


@dataclass(frozen=True, slots=True)
class Around:
    """The rest of a recording, of which :func:`fill_gaps` gets a part."""

    made: Sequence[tuple[int, int]] = ()
    """Fills before the gaps, in order: a gap is filled from them, too, but no louder for them."""
    later: Sequence[tuple[int, int]] = ()
    """Gaps behind the others, which stay as they are."""
    guides: Guides | None = None
    """Other channels, that tell of what is lost."""
    copy: Copy | None = None
    """:meth:`~plc.files.fill.copied.Passages.fill`, of the gaps' track and the signal's place."""


def fill_gaps(
    signal: Packet,
    sample_rate: int,
    gaps: Sequence[tuple[int, int]],
    settings: FillSettings,
    around: Around,
    progress: _Report | None = None,
) -> Packet:
    """Fill the gaps of a signal.

    Parameters
    ----------
    signal : float32 or int16, shape (n,) or (n, channels)
        Samples; what stands in the gaps is not looked at.
    gaps : sequence of (start, stop), in samples, stop excluded
    settings : FillSettings, how they are filled
    around : Around, the rest of the recording
    sample_rate, progress
        As for :func:`inpaint`.
    """
    quality = settings.quality
    config = RecordingConfig(
        sample_rate=sample_rate,
        channels=signal.size // signal.shape[0],
        method="ar" if settings.method in FILE_METHODS else settings.method,
        budget_ms=float("inf"),
    )
    network = settings.network(sample_rate)
    rows = as_rows(signal)
    merged = merge_gaps([*gaps, *around.later], rows.shape[1])
    warm_up()
    received = _received(rows, merged, around.made)
    wanted = merged[: len(merged) - len(around.later)]
    if config.method not in BASELINES:
        _rung(config)  # an unknown method is an error without gaps, too
    alone = network is None or not network.any_gap
    guides = around.guides if alone and between.refines(quality, config.method) else None
    done = 0
    for group in joint.grouped(wanted, sample_rate, quality, config.method):
        if joint.is_system(group, sample_rate, quality, config.method):
            for row in rows:
                joint.interpolate_together(row, sample_rate, group, quality)
        else:
            (gap,) = group
            _fill(rows, config, gap, quality, network, Hints(received, seed=settings.seed))
            if around.copy is not None:
                around.copy(rows, gap, received)
            if guides is not None:
                _guide(rows, config, gap, quality, received, guides)
            if settings.predicts and gap.samples > LEAST_MS * sample_rate / 1000.0:
                where = rows, received, gap.span, sample_rate
                if spoken_background.is_spoken(*where, settings.content):
                    spoken_background.lay_background(*where)
            _hold(rows, sample_rate, gap, received)
        done += len(group)
        if progress is not None:
            progress(done, len(wanted))
    return _into(signal, rows, wanted)


def _received(
    rows: NDArray[np.float32], gaps: Sequence[Gap], made: Sequence[tuple[int, int]]
) -> NDArray[np.bool_]:
    """Silence the gaps; return which samples were received, and are neither gaps nor fills."""
    unsound = find_unsound(rows.T, (gap.span for gap in gaps))
    if unsound is not None:
        raise PacketError(f"sample {unsound} is not finite; list it in gaps to have it filled")
    received = np.ones(rows.shape[1], np.bool_)
    for start, stop, _ in gaps:
        rows[:, start:stop] = 0.0
        received[start:stop] = False
    for start, stop in made:
        received[start:stop] = False
    return received


def guides_of(
    signal: Packet, first: int, tracks: Sequence[Track], lost: Sequence[int]
) -> Guides | None:
    """Return the channels that may guide the fill of others, or None.

    Parameters
    ----------
    signal : float32 or int16, shape (n, channels)
        All channels, from sample ``first`` of the recording on.
    tracks : sequence of Track, of the recording
    lost : sequence of int, the channels to be filled
    """
    others = [channel for channel in range(signal.shape[1]) if channel not in lost]
    if not others:
        return None
    known = np.ones((signal.shape[1], signal.shape[0]), np.bool_)
    for where, gaps in tracks:
        # What lies beside a gap may be damaged, too.
        for start, stop, _ in gaps_within(gaps, first - EDGE_SAMPLES, first + len(signal)):
            begin, end = start - EDGE_SAMPLES - first, stop + EDGE_SAMPLES - first
            known[where, max(0, begin) : max(0, end)] = False
    return Guides(as_rows(signal[:, others]), known[others])


def _blocks(signal: Packet) -> Iterator[NDArray[np.float32]]:
    """Yield samples of shape (n, channels), full scale 1.0."""
    for start in range(0, len(signal), _BLOCK_SAMPLES):
        yield as_rows(signal[start : start + _BLOCK_SAMPLES]).T


def _guide(
    rows: NDArray[np.float32],
    config: StreamConfig,
    gap: Gap,
    quality: str,
    received: NDArray[np.bool_],
    guides: Guides,
) -> None:
    one = replace(config, channels=1)

    def fill(effort: str, line: NDArray[np.float32], place: Gap) -> None:
        heard = Hints(np.ones(line.size, np.bool_))
        _fill(line[np.newaxis], one, place, effort, None, heard)

    for row in rows:
        ways = partial(fill, quality), partial(fill, "fast")
        follow(row, received, guides, config.sample_rate, gap, *ways)


def _into(signal: Packet, rows: NDArray[np.float32], gaps: list[Gap]) -> Packet:
    out = signal.copy()
    view = out.reshape(signal.shape[0], -1)
    for start, stop, _ in gaps:
        filled = rows[:, start:stop].T
        if signal.dtype == np.int16:
            filled = np.clip(np.rint(filled * np.float32(INT16_SCALE)), -32768, 32767)
        view[start:stop] = filled
    return out


def _fill(
    rows: NDArray[np.float32],
    config: StreamConfig,
    gap: Gap,
    quality: str,
    network: GapFiller | None,
    hints: Hints,
) -> None:
    context = round(CONTEXT_S * config.sample_rate)
    before = rows[:, max(0, gap.start - context) : gap.start]
    after = rows[:, gap.stop : min(gap.end, gap.stop + context)]
    hole = rows[:, gap.start : gap.stop]
    if config.method in BASELINES:
        baseline = Baseline(config.method, config.sample_rate, config.packet_samples)
        hole[:] = baseline.fill(before, after, gap.samples)
        return
    sides = before, after, config.sample_rate, _rung(config), hole
    if not before.shape[1]:
        fill_between(*sides)
        return
    shares = [0.0] * len(rows)
    if network is not None:
        where = hints.received, gap.span, config.sample_rate
        listens = [partial(signal_background.speech_around, row, *where) for row in rows]
        shares = [network.speech_share(listen) for listen in listens]
    if network is None or not all(
        [network.fill_speech(row, *gap, speech) for row, speech in zip(rows, shares, strict=True)]
    ):
        fill_between(*sides)
        drafts = between.refines(quality, config.method) and between.refinable(gap, before.shape[1])
        for row, speech in zip(rows, shares, strict=True):
            known = replace(hints, speech=speech)
            if drafts:
                doubt_db = between.interpolate(
                    row, config.sample_rate, gap, between.QUALITIES[quality]
                )
                known = replace(known, doubt_db=doubt_db)
            if network is not None and (drafts or network.any_gap):
                network.refine(row, *gap, known)


def _hold(
    rows: NDArray[np.float32], sample_rate: int, gap: Gap, received: NDArray[np.bool_]
) -> None:
    """Hold a gap's fill within the level around it, without earlier fills."""
    context = round(CONTEXT_S * sample_rate)
    first = max(0, gap.start - context)
    before = rows[:, first : gap.start][:, received[first : gap.start]]
    after = rows[:, gap.stop : min(gap.end, gap.stop + context)]
    hold_between((before, after), sample_rate, rows[:, gap.start : gap.stop])


def _rung(config: StreamConfig) -> Rung:
    """Return order and past by a method; raise ConfigError for an unknown one."""
    if config.method in ("auto", "ar"):
        return SIDE_RUNG
    return rung_of(config.method, config.sample_rate, RECORDING_METHODS)
