"""Fill a gap as the paper does: a network for the spectra, phase from the context [1]_.

The network sees the spectra of 128 ms on either side of a gap of 64 ms, at 16 kHz, and answers with
those of the gap. In frames of a Hann window of 512 samples every 128, of which the network
answers with the 11 that touch the gap::

    |<--- 2048 --->|<-- gap: 1024 -->|<--- 2048 --->|      samples
    [13 + 3 frames]  [ 11 frames ]   [3 + 13 frames]       contexts end in silence towards the gap

A network that answers with magnitudes leaves the phase open: it is integrated from phases known
around the gap (:mod:`plc_kernels.spectra.pghi`), then improved by 100 iterations of fast
Griffin-Lim with the known frames held. One that answers with complex numbers leaves nothing open.
Then the frames are overlapped and added; of the result the gap's samples are taken, bent at both
ends to meet what is known.

*Shorter gaps* lie inside a window of 64 ms whose other samples are treated as lost, but only in
what the network is shown. Where the window may lie is free: after the gap's first sample (extended
*forwards*), up to its last (*backwards*), or around it (*centred*), in steps of a hop. Each place
is one answer; several are averaged, frame by frame, before the phase is made.

*At other rates* from 16 kHz on the surroundings are resampled, and the fill takes the place of what
stood in the gap up to 8 kHz; above, that remains.

References
----------
.. [1] A. Marafioti, N. Holighaus, P. Majdak, N. Perraudin, "Audio inpainting of music by means of
   neural networks", AES 146th Convention, 2019, sections 2.1, 2.4 and 4.2.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.catalogue import find
from plc.engine.models.manifest import Manifest
from plc.engine.models.onnx_file import GraphSummary
from plc.engine.networks.gap_filler import GapFiller, Hints, check_answer, check_kind
from plc.engine.networks.other_rate import OtherRate
from plc.engine.networks.spectral_fill import bent, padded, with_phase
from plc.engine.runtime.providers import Signature
from plc.engine.runtime.session import open_session
from plc.engine.runtime.shared import BoundSession
from plc.errors import ConfigError, ModelError, unknown
from plc_kernels.spectra.offline import signal_of, spectra_of
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import gaussian_gamma, window
from plc_kernels.stream.layout import MAX_SAMPLE_RATE

KIND = "context_encoder"
"""Of a manifest whose network is one for here."""
# All of this grid: section 3.1 of the paper.
SAMPLE_RATE = 16_000
"""In Hz; the network knows no other."""
RATES = (SAMPLE_RATE, MAX_SAMPLE_RATE)
"""In Hz: of signals whose gaps can be filled."""
WINDOW_SAMPLES = 512
HOP_SAMPLES = 128
CONTEXT_SAMPLES = 2048
"""What is looked at on either side of the window of 64 ms."""
GAP_SAMPLES = 1024
"""The longest gap."""
SIDE_SAMPLES = GAP_SAMPLES + CONTEXT_SAMPLES
"""What is looked at before a gap's first sample, and from there on."""
# A frame is four hops, so three more than there are hops in a stretch touch it.
TOUCHING = WINDOW_SAMPLES // HOP_SAMPLES - 1
CONTEXT_FRAMES = CONTEXT_SAMPLES // HOP_SAMPLES
GAP_FRAMES = GAP_SAMPLES // HOP_SAMPLES + TOUCHING
EXTENSIONS = ("forwards", "backwards", "centred")
"""Where the window of 64 ms lies around a shorter gap."""

ITERATIONS = 100
"""Of fast Griffin-Lim: section 2.4."""
# Frames that share a sample with a frame of the gap reach this far to either side.
_REACH = 2 * TOUCHING * HOP_SAMPLES

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Contexts, shape (batch, 4, 257, 16), to spectra of gaps, shape (batch, [2,] 257, 11)."""


class ContextEncoder:
    """Fills gaps of up to 64 ms with both sides known.

    Parameters
    ----------
    network : callable
        Spectra of contexts to spectra of gaps.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._plan = Stft.allocate(window("hann", WINDOW_SAMPLES), HOP_SAMPLES)

    def fill(
        self,
        signal: NDArray[np.float32],
        gap: tuple[int, int],
        extensions: Sequence[str] = EXTENSIONS,
        iterations: int = ITERATIONS,
    ) -> NDArray[np.float32]:
        """Return the samples of a gap: float32, shape (stop - start,).

        Parameters
        ----------
        signal : float32, shape (n,)
            Samples at 16 kHz; what stands in the gap is not looked at. Beyond its ends there is
            silence, so a gap needs 2304 samples on either side to be filled as well as it can.
        gap : tuple of int
            First sample of the gap and first after it, at most 1024 apart.
        extensions : sequence of str
            Of :data:`EXTENSIONS`; the answers for several are averaged. Of a gap of more than
            896 samples they are all the same.
        iterations : int
            Of fast Griffin-Lim; a network that answers with complex numbers takes none.

        Raises
        ------
        ConfigError
            If the gap is empty, too long or outside the signal, or an extension is unknown.
        ModelError
            If the network answers with another shape or with values that are not finite.
        """
        start, stop = gap
        answer = self.spectra(signal, gap, extensions)
        local = padded(signal, start - _REACH, stop + _REACH)
        local[_REACH : _REACH + stop - start] = 0.0
        known, estimate = self._with_context(local, answer)
        if not np.iscomplexobj(answer):
            gamma = gaussian_gamma("hann", WINDOW_SAMPLES)
            estimate = with_phase(estimate, known, local.size, iterations, gamma, self._plan)
        filled = signal_of(estimate, local.size, self._plan)
        return bent(filled, local, (_REACH, _REACH + stop - start), SAMPLE_RATE)

    def spectra(
        self,
        signal: NDArray[np.float32],
        gap: tuple[int, int],
        extensions: Sequence[str] = EXTENSIONS,
    ) -> NDArray[np.float32] | NDArray[np.complex64]:
        """Return the network's spectra of the gap, without a phase.

        Parameters are as for :meth:`fill`.

        Returns
        -------
        float32 or complex64, shape (frames, 257)
            Magnitudes, at least 0, or complex spectra; the first frame begins 384 samples before
            the gap.
        """
        start, stop = gap
        if not 0 <= start < stop <= signal.size or stop - start > GAP_SAMPLES:
            raise ConfigError(
                f"gap {start}:{stop} cannot be filled in a signal of {signal.size} samples; it may "
                f"have 1 to {GAP_SAMPLES} and must lie inside"
            )
        hops = -(-(stop - start) // HOP_SAMPLES)
        leads = sorted({_lead_hops(name, hops) for name in extensions})
        if not leads:
            raise ConfigError(f"no extension given; known: {', '.join(EXTENSIONS)}")
        hidden = signal.copy()
        hidden[start:stop] = 0.0
        contexts = [self._context(hidden, start - lead * HOP_SAMPLES) for lead in leads]
        answers = self._answers(np.stack(contexts))
        frames = hops + TOUCHING
        parts = [answers[i, lead : lead + frames] for i, lead in enumerate(leads)]
        mean: NDArray[np.float32] | NDArray[np.complex64] = np.mean(parts, axis=0)
        return mean

    def _context(self, hidden: NDArray[np.float32], start: int) -> NDArray[np.float32]:
        sides = (
            np.pad(padded(hidden, start - CONTEXT_SAMPLES, start), (0, TOUCHING * HOP_SAMPLES)),
            np.pad(
                padded(hidden, start + GAP_SAMPLES, start + GAP_SAMPLES + CONTEXT_SAMPLES),
                (TOUCHING * HOP_SAMPLES, 0),
            ),
        )
        out = np.empty((4, WINDOW_SAMPLES // 2 + 1, CONTEXT_FRAMES), np.float32)
        for side, x in enumerate(sides):
            # Whole frames only: the first three of the kernel begin before the samples do.
            spectra = spectra_of(x, self._plan)[TOUCHING : TOUCHING + CONTEXT_FRAMES]
            out[2 * side] = spectra.real.T
            out[2 * side + 1] = spectra.imag.T
        return out

    def _answers(
        self, contexts: NDArray[np.float32]
    ) -> NDArray[np.float32] | NDArray[np.complex64]:
        """Return the network's answers, shape (batch, 11, 257): magnitudes or complex."""
        out = np.asarray(self._network(contexts))
        shape = (contexts.shape[0], WINDOW_SAMPLES // 2 + 1, GAP_FRAMES)
        check_answer("the network", out, (shape, (shape[0], 2, *shape[1:])))
        if out.ndim == 3:
            return np.abs(out).transpose(0, 2, 1).astype(np.float32)
        spectra = np.empty((shape[0], GAP_FRAMES, shape[1]), np.complex64)
        spectra.real, spectra.imag = out.transpose(1, 0, 3, 2)
        return spectra

    def _with_context(
        self, local: NDArray[np.float32], answer: NDArray[np.float32] | NDArray[np.complex64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.complex64]]:
        """Return which frames are known, and all spectra: known ones and the answer."""
        spectra = spectra_of(local, self._plan)
        known = np.ones(spectra.shape, np.uint8)
        first = _REACH // HOP_SAMPLES
        known[first : first + answer.shape[0]] = 0
        spectra[first : first + answer.shape[0]] = answer
        return known, spectra


class AnyRateEncoder(GapFiller):
    """A context encoder for signals of any rate from 16 kHz on.

    Parameters
    ----------
    encoder : ContextEncoder, for 16 kHz
    sample_rate : int, of the signals, in Hz

    Attributes
    ----------
    longest, context, side : int
        Samples of the signal: the longest gap; what has to be known on either side; and what is
        looked at before a gap's first sample, and from there on.

    Raises
    ------
    ConfigError
        If the rate is none of :data:`RATES`.
    """

    def __init__(self, encoder: ContextEncoder, sample_rate: int) -> None:
        self._encoder = encoder
        self._rate = OtherRate(sample_rate, SAMPLE_RATE)
        self.longest, self.context, self.side = spans_at(sample_rate)

    def fill(
        self,
        row: NDArray[np.float32],
        gap: tuple[int, int],
        extensions: Sequence[str] = EXTENSIONS,
        iterations: int = ITERATIONS,
    ) -> NDArray[np.float32]:
        """Return the samples of a gap, as :meth:`ContextEncoder.fill` does.

        Parameters
        ----------
        row : float32, shape (n,)
            Samples; in the gap stands a draft, of which is kept what lies above 8 kHz.
        gap, extensions, iterations
            As there; the gap in samples of the row.

        Raises
        ------
        ConfigError, ModelError
            As there.
        """
        start, stop = gap
        line = self._rate.of_row(row, start, -SIDE_SAMPLES, 2 * SIDE_SAMPLES)
        own = (SIDE_SAMPLES, SIDE_SAMPLES + self._rate.samples(stop - start))
        fill = self._encoder.fill(line, own, extensions, iterations)
        out = row[start:stop].copy()
        self._rate.replace(out, fill, line[slice(*own)])
        return out

    def refine(
        self, row: NDArray[np.float32], start: int, stop: int, end: int, hints: Hints
    ) -> bool:
        """As :meth:`GapFiller.refine`: make a gap anew, of up to 64 ms, with 128 ms known."""
        if stop - start > self.longest or min(start, end - stop) < self.context:
            return False
        try:
            row[start:stop] = self.fill(row[:end], (start, stop))
        except ModelError:
            return False
        return True


def spans_at(sample_rate: int) -> tuple[int, int, int]:
    """Return longest gap, context and side at a rate, as of :class:`AnyRateEncoder`.

    Raises
    ------
    ConfigError
        If the rate is none of :data:`RATES`.
    """
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise ConfigError(
            f"a context encoder is for {RATES[0]} to {RATES[1]} Hz, the signal has {sample_rate} "
            "Hz; take another model: plc models lists them"
        )
    step = sample_rate / SAMPLE_RATE
    return (
        int(GAP_SAMPLES * step),
        math.ceil(CONTEXT_SAMPLES * step),
        math.ceil(SIDE_SAMPLES * step),
    )


def open_context_encoder(model: str | Path | Manifest) -> ContextEncoder:
    """Return an encoder with a network from a file.

    The session for one window is opened here, those for several when they are first needed.

    Parameters
    ----------
    model : str, Path or Manifest
        As :func:`plc.engine.models.catalogue.find` takes it. The graph takes ``context``, shape
        (batch, 4, 257, 16), and gives ``gap``, shape (batch, 257, 11) or (batch, 2, 257, 11).

    Raises
    ------
    ConfigError
        If the model is of another kind.
    MissingExtraError, ModelError
        As :func:`plc.engine.runtime.session.open_session` raises them.
    """
    manifest = model if isinstance(model, Manifest) else find(model)
    check_kind(manifest, KIND)

    @cache
    def opened(batch: int) -> BoundSession:
        return open_session(manifest, partial(encoder_signature, batch), providers="cpu")

    opened(1)

    def network(contexts: NDArray[np.float32]) -> NDArray[np.float32]:
        session = opened(contexts.shape[0])
        np.copyto(session.inputs[0], contexts)
        session.run()
        answers: NDArray[np.float32] = session.output
        return answers

    return ContextEncoder(network)


def open_filler(manifests: Sequence[Manifest], sample_rate: int) -> AnyRateEncoder:
    """Return a context encoder for gaps of files."""
    return AnyRateEncoder(open_context_encoder(manifests[0]), sample_rate)


def encoder_signature(batch: int, graph: GraphSummary) -> Signature:
    """Return the shapes of a network, real or complex, for some windows."""
    parts = (2,) if any(len(port.shape) == 4 for port in graph.outputs) else ()
    bins = WINDOW_SAMPLES // 2 + 1
    return Signature(
        (("context", (batch, 4, bins, CONTEXT_FRAMES)),), ("gap", (batch, *parts, bins, GAP_FRAMES))
    )


def _lead_hops(extension: str, gap_hops: int) -> int:
    spare = GAP_SAMPLES // HOP_SAMPLES - gap_hops
    if extension not in EXTENSIONS:
        raise ConfigError(unknown("extension", extension, EXTENSIONS))
    return {"forwards": 0, "backwards": spare, "centred": spare // 2}[extension]
