"""Long gaps of music, filled with invented sound by GACELA [1]_.

Nobody knows what was in a gap of a third of a second, so the network is not asked for the likeliest
continuation, but for one that passes for music between what is known. Random numbers beside both
sides choose among those: another seed is another fill. It works at 22.05 kHz, in frames of 1024
samples every 256, with the levels of seconds on either side::

    samples   |~~~~~~~~ known ~~~~~~~~~|       gap        |~~~~~~~~ known ~~~~~~~~~|
    frames    [240 of a side]  [2 edge] [ 32 generated  ] [2 edge]  [240 of a side]

The edge frames of a side touch the gap. The network sees the nearest whole frame in their place;
those that miss more than a little are interpolated between it and the generated ones. Generated
frames are brought to the levels of what is known at both ends, band by band. Then phase is made as
in :mod:`plc.engine.networks.spectral_fill`, and the samples are mixed with a draft at both ends. In
a shorter gap only its own frames are generated; for a longer one, up to twice the network's, the
generated levels are stretched in time, before they have a phase.

*Above 11 kHz* the network knows nothing: there stays the draft that filled the gap before.

References
----------
.. [1] A. Marafioti, P. Majdak, N. Holighaus, N. Perraudin, "GACELA: a generative adversarial
   context encoder for long audio inpainting of music", IEEE J. Sel. Topics in Signal Processing 15
   (1), 2021.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.models.onnx_file import GraphSummary
from plc.engine.networks.gap_filler import GapFiller, Hints, check_answer, check_rate
from plc.engine.networks.other_rate import OtherRate
from plc.engine.networks.spectral_fill import interpolated, with_phase
from plc.engine.runtime.providers import Signature
from plc.engine.runtime.session import open_session
from plc.errors import ConfigError, ModelError
from plc_kernels.signal.fade import crossfade_ramp
from plc_kernels.spectra.offline import signal_of, spectra_of
from plc_kernels.spectra.scales import band_centres_hz
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import gaussian_gamma, window
from plc_kernels.stream.layout import MAX_SAMPLE_RATE

KIND = "gacela"
"""Of a manifest whose network is one for here."""
SAMPLE_RATE = 22_050
"""In Hz; the networks know no other."""
RATES = (SAMPLE_RATE, MAX_SAMPLE_RATE)
"""In Hz: of recordings that can be filled."""
WINDOW_SAMPLES, HOP_SAMPLES = 1024, 256
BINS = WINDOW_SAMPLES // 2
"""Of the networks: all but the topmost."""
DECADES = 5.0
"""Magnitudes that levels from -1 to 1 tell apart."""
EDGE_FRAMES = 2
"""Frames on either side of those of a gap that miss some of their samples."""
ITERATIONS = 100
"""Of fast Griffin-Lim, as in :mod:`plc.engine.networks.encoder`."""
MIX_MS = 5.0
"""At both ends of a gap: where the draft goes over into the fill."""
LEVEL_FRAMES = 8
"""At both ends of a gap, and beside it: whose levels generated frames are brought to."""
LEVEL_BANDS = 40
"""In which levels are compared, of equal width in mel."""
LEVEL_LIMIT_DB = 20.0
"""By which a band is raised or lowered at the most."""
STRETCH = 2.05
"""Times the frames of its network that a gap may have."""
# A frame that misses no more of its window's energy counts as known.
_LITTLE = 0.05
# Frames that touch a gap's first sample and begin before it.
_TOUCHING = WINDOW_SAMPLES // HOP_SAMPLES - 1
# Frames that share a sample with a frame of the gap reach so many hops to either side.
_REACH = 2 * _TOUCHING
# Magnitude that counts as none.
_SILENCE = 1e-9


class LongGapNetwork:
    """A network for recordings of one rate.

    Parameters
    ----------
    manifest : Manifest, a model of kind ``gacela``
    sample_rate : int, of the recording, in Hz

    Attributes
    ----------
    name : str, of the model
    unstretched, longest : int
        Samples of the recording in the longest gap that it fills without and with stretching.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If the model is for something else, is not sound, or ONNX Runtime is not installed.
    """

    def __init__(self, manifest: Manifest, sample_rate: int) -> None:
        check_rate(manifest, sample_rate)
        self.name = manifest.name
        self._session = open_session(manifest, partial(long_gap_signature, 1), providers="cpu")
        self._side = self._session.inputs[0].shape[3]
        self._gap = self._session.output.shape[2]
        self._rate = OtherRate(sample_rate, SAMPLE_RATE)
        self.unstretched = int(self._gap * HOP_SAMPLES * self._rate.step)
        self.longest = int(STRETCH * self.unstretched)
        shape = window("hann", WINDOW_SAMPLES)
        self._plan = Stft.allocate(shape, HOP_SAMPLES)
        self._energy = shape**2 / np.sum(shape**2)

    def fill(self, row: NDArray[np.float32], start: int, stop: int, seed: int) -> bool:
        """Fill a gap of a row in place of its draft; return whether it could.

        Parameters
        ----------
        row : float32, shape (n,), written from start to stop, one channel
        start, stop : int
            The gap: at most :attr:`longest`. One at an end of the row is left.
        seed : int
            Of the random numbers: another seed, another fill.

        Raises
        ------
        ModelError
            If the network's answer is not finite.
        """
        if not 0 < start < stop < row.size:
            return False
        samples = self._rate.samples(stop - start)
        inside = max(self._gap, -(-samples // HOP_SAMPLES))
        frames = inside + 2 * self._side
        # Sample 0 is the gap's first one. Generated frames are centred in and around the gap.
        first = (samples - inside * HOP_SAMPLES) // 2
        begin = first + (HOP_SAMPLES - WINDOW_SAMPLES) // 2 - self._side * HOP_SAMPLES
        line = self._rate.of_row(row, start, begin, (frames - 1) * HOP_SAMPLES + WINDOW_SAMPLES)
        magnitudes = np.abs(spectra_of(line, self._plan)[_TOUCHING : _TOUCHING + frames])
        lost = self._lost_frames(frames, (-begin, samples - begin))
        if not lost.any():  # so short a gap is no frame's loss
            return False
        answer = stretched(self._answer(magnitudes, seed), inside)
        made = np.zeros(frames, np.bool_)
        made[self._side : self._side + inside] = True
        magnitudes[made & lost] = answer[lost[made]]
        bring_to_level(magnitudes, made & lost, ~lost)
        places = np.flatnonzero(lost)
        between(magnitudes, lost & ~made)
        # The phase is made in a part of the line.
        low = max(0, int(places[0]) - _REACH)
        high = min(frames, int(places[-1]) + 1 + _REACH)
        part = line[low * HOP_SAMPLES : (high - 1) * HOP_SAMPLES + WINDOW_SAMPLES]
        estimate = spectra_of(part, self._plan)
        known = np.ones(estimate.shape, np.uint8)
        known[_TOUCHING + places - low] = 0
        estimate[_TOUCHING + places - low] = magnitudes[places]
        gamma = gaussian_gamma("hann", WINDOW_SAMPLES)
        estimate = with_phase(estimate, known, part.size, ITERATIONS, gamma, self._plan)
        filled = signal_of(estimate, part.size, self._plan)
        begin = -begin - low * HOP_SAMPLES
        draft = part[begin : begin + samples]
        change = weights(samples) * (filled[begin : begin + samples] - draft)
        self._rate.replace(row[start:stop], draft + change, draft)
        return True

    def _answer(self, magnitudes: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Return generated magnitudes, shape (frames of the gap, 513)."""
        side = self._side
        before = magnitudes[:side].copy()
        before[-EDGE_FRAMES:] = before[-EDGE_FRAMES - 1]
        after = magnitudes[-side:].copy()
        after[:EDGE_FRAMES] = after[EDGE_FRAMES]
        sides = np.stack([before, after])[..., :BINS]
        largest = max(float(sides.max()), _SILENCE)
        shown, noise = self._session.inputs
        shown[0] = levels_of(sides / np.float32(largest)).transpose(0, 2, 1)
        noise[0] = np.random.default_rng(seed).random(noise.shape[1:], np.float32)
        self._session.run()
        answer = self._session.output[0].T
        check_answer(self.name, answer)
        out = np.zeros((self._gap, BINS + 1), np.float32)
        out[:, :BINS] = largest * 10.0 ** ((answer - 1.0) * (DECADES / 2.0))
        return out

    def _lost_frames(self, frames: int, gap: tuple[int, int]) -> NDArray[np.bool_]:
        missing = np.zeros((frames - 1) * HOP_SAMPLES + WINDOW_SAMPLES)
        missing[slice(*gap)] = 1.0
        windows = np.lib.stride_tricks.sliding_window_view(missing, WINDOW_SAMPLES)[::HOP_SAMPLES]
        lost: NDArray[np.bool_] = windows @ self._energy > _LITTLE
        return lost


class LongGaps(GapFiller):
    """Fills long gaps by the shortest network that reaches, else by the longest one, stretched.

    There is one network at least, all for the rate of the recordings, in Hz.
    """

    any_gap = True

    def __init__(self, networks: Sequence[LongGapNetwork], sample_rate: int) -> None:
        self._networks = sorted(networks, key=lambda network: network.longest)
        self._sample_rate = sample_rate

    @property
    def longest(self) -> int:
        """Samples of the recording in the longest gap that is filled."""
        return self._networks[-1].longest

    def refine(
        self, row: NDArray[np.float32], start: int, stop: int, end: int, hints: Hints
    ) -> bool:
        """As :meth:`GapFiller.refine`, as :meth:`LongGapNetwork.fill` does."""
        longest = self._networks[-1]
        for network in self._networks:
            if stop - start <= network.unstretched:
                return network.fill(row, start, stop, hints.seed)
        if stop - start <= longest.longest:
            return longest.fill(row, start, stop, hints.seed)
        raise ConfigError(
            f"a gap of {1000 * (stop - start) / self._sample_rate:.1f} ms is too long for method "
            f"{KIND}: model {longest.name} fills up to "
            f"{1000 * longest.longest / self._sample_rate:.1f} ms; take method auto, or a model "
            "that was trained for longer gaps"
        )


def open_filler(manifests: Sequence[Manifest], sample_rate: int) -> LongGaps:
    """Return models of kind ``gacela`` for gaps of files."""
    return LongGaps([LongGapNetwork(each, sample_rate) for each in manifests], sample_rate)


def long_gap_signature(batch: int, graph: GraphSummary) -> Signature:
    """Return the shapes of a network for a number of gaps.

    Raises
    ------
    ModelError
        If the graph is no such network.
    """
    shapes = {port.name: port.shape for port in (*graph.inputs, *graph.outputs)}
    match [shapes.get(name) for name in ("sides", "noise", "gap")]:
        case [
            [_, 2, int(bins), int(side)],
            [_, int(maps), int(bands), int(steps)],
            [_, int(made), int(gap)],
        ] if bins == made == BINS and side > EDGE_FRAMES and gap > 0:
            inputs = (("sides", (batch, 2, bins, side)), ("noise", (batch, maps, bands, steps)))
            return Signature(inputs, ("gap", (batch, bins, gap)))
    raise ModelError(
        f"the graph has {', '.join(map(str, (*graph.inputs, *graph.outputs)))}; expected sides "
        f"(batch, 2, {BINS}, frames), noise (batch, maps, bands, steps), gap (batch, {BINS}, "
        "frames): export the model again"
    )


def weights(samples: int) -> NDArray[np.float32]:
    """Return the share of a fill in the mixture with its draft: 0 at both ends, 1 between.

    The draft continues both sides, so that at the ends there is no step.
    """
    share = np.ones(samples, np.float32)
    ramp = crossfade_ramp(min(round(MIX_MS * SAMPLE_RATE / 1000.0), samples // 2))
    share[: ramp.size] = ramp
    share[samples - ramp.size :] = ramp[::-1]
    return share


def stretched(frames: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return frames on straight lines between given ones, in time: shape (count, bins)."""
    if count == len(frames):
        return frames
    places = np.linspace(0.0, len(frames) - 1.0, count)
    low = np.minimum(places.astype(np.intp), len(frames) - 2)
    share = (places - low).astype(np.float32)[:, None]
    line: NDArray[np.float32] = frames[low] + share * (frames[low + 1] - frames[low])
    return line


def levels_of(magnitudes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the levels of magnitudes: 1 for 1, and at least -1."""
    floored = np.maximum(magnitudes, np.float32(10.0**-DECADES))
    levels: NDArray[np.float32] = 1.0 + np.float32(2.0 / DECADES) * np.log10(floored)
    return levels


def bring_to_level(
    magnitudes: NDArray[np.float32], generated: NDArray[np.bool_], known: NDArray[np.bool_]
) -> None:
    """Bring generated frames to the levels of known ones.

    At each end the mean powers of :data:`LEVEL_BANDS` bands are compared over
    :data:`LEVEL_FRAMES` frames. Gains in dB lie on straight lines between the middles of bands, and
    from one end to the other.

    Parameters
    ----------
    magnitudes : float32, shape (frames, bins), read and written
        Of frames; generated ones are written.
    generated, known : bool, shape (frames,)
        A frame at least of each, the known ones on both sides.
    """
    places, sides = np.flatnonzero(generated), np.flatnonzero(known)
    edges = _band_edges(magnitudes.shape[1])
    ends = (
        (sides[sides < places[0]][-LEVEL_FRAMES:], places[:LEVEL_FRAMES]),
        (sides[sides > places[-1]][:LEVEL_FRAMES], places[-LEVEL_FRAMES:]),
    )
    middles = (edges[:-1] + edges[1:] - 1) / 2.0
    gains = []
    for beside, own in ends:
        wanted, found = (_band_powers(magnitudes[rows], edges) for rows in (beside, own))
        ratios = 10.0 * np.log10((wanted + _SILENCE**2) / (found + _SILENCE**2))
        limited = np.clip(ratios, -LEVEL_LIMIT_DB, LEVEL_LIMIT_DB)
        gains.append(np.interp(np.arange(magnitudes.shape[1]), middles, limited))
    line = gains[0] + np.linspace(0.0, 1.0, places.size)[:, None] * (gains[1] - gains[0])
    magnitudes[places] *= (10.0 ** (line / 20.0)).astype(np.float32)


def _band_edges(bins: int) -> NDArray[np.intp]:
    hz = band_centres_hz("mel", LEVEL_BANDS + 1, 0.0, SAMPLE_RATE / 2.0)
    edges = np.round(hz * WINDOW_SAMPLES / SAMPLE_RATE).astype(np.intp)
    edges[-1] = bins
    return edges


def _band_powers(frames: NDArray[np.float32], edges: NDArray[np.intp]) -> NDArray[np.float64]:
    power = (frames.astype(np.float64) ** 2).mean(axis=0)
    sums: NDArray[np.float64] = np.add.reduceat(power, edges[:-1]) / np.diff(edges)
    return sums


def between(magnitudes: NDArray[np.float32], missing: NDArray[np.bool_]) -> None:
    """Put missing frames on straight lines between others, of which there is one at least, in dB.

    ``magnitudes``, float32, shape (frames, bins), are changed; ``missing`` is bool, shape
    (frames,).
    """
    logs = np.log(np.maximum(magnitudes, _SILENCE))
    magnitudes[missing] = np.exp(interpolated(logs, missing)[missing])
