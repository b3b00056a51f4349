"""Networks for gaps with both sides known: the last step of :func:`plc.inpaint`."""

import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plc import notice
from plc.engine.models.catalogue import available, find
from plc.engine.models.kinds import KINDS, opener
from plc.engine.models.manifest import Manifest
from plc.engine.networks.gap_filler import GapFiller, Hints, check_kind, find_models
from plc.engine.networks.gap_spectra import GapSpectra
from plc.engine.predict.contour_model import contour_model
from plc.engine.predict.sides import continued
from plc.engine.runtime.onnx_network import open_network
from plc.errors import ConfigError, MissingExtraError, ModelError, in_a_line
from plc.files.fill.gap_drafts import Found, TwoSidedDraft, network_gain

if TYPE_CHECKING:
    from plc.files.fill.spoken import SpokenGaps

CONTENTS = ("music", "speech")
LEAST_KNOWN_MS = 30.0
"""On either side of a gap. What lies beyond is predicted where the network wants to see more."""
# Disagreement of the predictors that filled a gap, in dB relative to the fill: below the first the
# network has no weight, above the second all of it. The predictors' error follows their
# disagreement, and the network's error is seldom below -25 dB (docs/notebook.md).
_CERTAIN_DB, _DOUBTFUL_DB = -38.0, -22.0

# A gap that no other follows within this time is one of those that the two-sided network of speech
# was trained on.
_ALONE_MS = 128.0

opened = threading.local()
"""``fillers`` by what they were asked for, in each thread its own."""


class TwoSidedNetwork:
    """One model at one sample rate.

    Parameters
    ----------
    manifest : Manifest, a model of kind ``inpaint``
    sample_rate : int, in Hz

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If the model is for something else, is not sound, or ONNX Runtime is not installed.
    """

    def __init__(self, manifest: Manifest, sample_rate: int) -> None:
        self._rate = sample_rate
        self._least = round(LEAST_KNOWN_MS * sample_rate / 1000.0)
        if "contour" in manifest.drafts:
            contour_model()  # which may be damaged
        self._gap = gap = GapSpectra(manifest, sample_rate, 1)
        try:
            self._draft = TwoSidedDraft(manifest.drafts, sample_rate, gap.gap_start)
        except ConfigError as error:
            raise ConfigError(f"model {manifest.name}: {error}") from error
        self._network = open_network(manifest, gap.shape)

    def fill(
        self, row: NDArray[np.float32], start: int, stop: int, end: int, found: Found
    ) -> NDArray[np.float32] | None:
        """Return an improved fill of ``row[start:stop]``.

        Parameters
        ----------
        row, start, stop, end
            As for :meth:`GapFiller.refine`.
        found : dict
            Keeps what was found elsewhere in the signal, for another model on the same gap.

        Returns
        -------
        float32, shape (stop - start,), or None
            None if the gap is longer than the model's horizon, less than 30 ms are known on a
            side, or the network fails.
        """
        gap = self._gap
        length = stop - start
        if length > gap.horizon or min(start, end - stop) < self._least:
            return None
        gap.set_gap(length)
        gap.rows[0, :] = self._seen(row[:end], start - gap.gap_start)
        alike = None
        if "similar" in self._draft.names:
            alike = self._draft.alike(row[:end], start, stop, gap.samples, found)
        self._draft.write(row[:start], row[stop:end], length, alike, gap.rows[0])
        gain = network_gain(gap.rows[0, -1], gap.gap_start, gap.gap_start + length)
        gap.rows *= gain
        gap.analyse()
        if not self._network.run(gap.spectra, gap.lost, gap.filled):
            return None
        return np.asarray(gap.synthesise()[0] / gain)

    def _seen(self, known: NDArray[np.float32], first: int) -> NDArray[np.float32]:
        """Return the network's input from ``first`` on; unknown samples are predicted."""
        last = first + self._gap.samples
        seen = known[max(0, first) : last]
        if first < 0:
            before = continued(known[::-1], -first, self._rate)[::-1]
            seen = np.concatenate([before, seen])
        if last > known.size:
            seen = np.concatenate([seen, continued(known, last - known.size, self._rate)])
        return seen


class TwoSidedNetworks(GapFiller):
    """The models that serve a file, by content; opened together.

    Parameters
    ----------
    manifests : mapping, by content: ``music``, ``speech`` or both
    sample_rate : int, in Hz
    spoken : SpokenGaps or None
        What fills the gaps of speech; one that is longer than its horizon, and that no other
        follows soon, gets the mean of it and the model for speech.
    """

    def __init__(
        self,
        manifests: Mapping[str, Manifest],
        sample_rate: int,
        spoken: "SpokenGaps | None" = None,
    ) -> None:
        self._rate = sample_rate
        opened = {m.name: TwoSidedNetwork(m, sample_rate) for m in manifests.values()}
        self._networks = {content: opened[m.name] for content, m in manifests.items()}
        self._spoken = spoken

    def speech_share(self, listen: Callable[[], float]) -> float:
        """As :meth:`GapFiller.speech_share`."""
        if len(self._networks) == 1:  # it is known what plays
            return float("speech" in self._networks)
        if self._spoken is None and len(set(self._networks.values())) == 1:
            return 0.0
        return listen()

    def fill_speech(
        self, row: NDArray[np.float32], start: int, stop: int, end: int, speech: float
    ) -> bool:
        """As :meth:`GapFiller.fill_speech`."""
        spoken = self._spoken
        if spoken is None or speech < 1.0 or self._both_serve(spoken, start, stop, end):
            return False
        fill = spoken.fill(row, start, stop, end)
        if fill is None:
            return False
        row[start:stop] = fill
        return True

    def refine(
        self, row: NDArray[np.float32], start: int, stop: int, end: int, hints: Hints
    ) -> bool:
        """As :meth:`GapFiller.refine`, by the model for the content, or both."""
        say = (hints.doubt_db - _CERTAIN_DB) / (_DOUBTFUL_DB - _CERTAIN_DB)
        if say <= 0.0:
            return False
        shares = {next(iter(self._networks)): 1.0}
        if len(set(self._networks.values())) > 1:
            shares = {"music": 1.0 - hints.speech, "speech": hints.speech}
        found: Found = {}
        fill = np.zeros(stop - start, np.float32)
        for content, share in shares.items():
            if share > 0.0:
                part = self._part(content, row, (start, stop, end), found)
                if part is None:
                    return False
                fill += np.float32(share) * part
        row[start:stop] += np.float32(min(say, 1.0)) * (fill - row[start:stop])
        return True

    def _both_serve(self, spoken: "SpokenGaps", start: int, stop: int, end: int) -> bool:
        """Return whether a gap is long and no other follows soon."""
        alone = end - stop >= round(_ALONE_MS * self._rate / 1000.0)
        return alone and stop - start > spoken.horizon

    def _part(
        self, content: str, row: NDArray[np.float32], gap: tuple[int, int, int], found: Found
    ) -> NDArray[np.float32] | None:
        network, spoken = self._networks[content], self._spoken
        spoken_fill = spoken.fill(row, *gap) if spoken and content == "speech" else None
        if spoken_fill is not None and spoken and not self._both_serve(spoken, *gap):
            return spoken_fill
        fill = network.fill(row, *gap, found)
        if spoken_fill is None or fill is None:
            return spoken_fill if fill is None else fill
        # Neither knows much of the middle of a long gap, and their errors differ.
        return (fill + spoken_fill) / np.float32(2.0)


def open_filler(manifests: Sequence[Manifest], sample_rate: int) -> TwoSidedNetworks:
    """Return a model of kind ``inpaint`` for all content."""
    return TwoSidedNetworks(dict.fromkeys(CONTENTS, manifests[0]), sample_rate)


def kind_of_filler(method: str, model: str) -> str:
    """Return the kind of the networks that fill gaps of files, ``""`` for no kind of its own.

    Parameters
    ----------
    method, model : str, as for :func:`open_gap_filler`

    Raises
    ------
    ModelError
        If the model is unknown or its manifest not sound.
    """
    if method != "auto":
        return method if method in KINDS else ""
    return "" if model in ("auto", "ar") else find(model).kind


def open_gap_filler(
    method: str, model: str, sample_rate: int, content: str = "auto"
) -> GapFiller | None:
    """Return the networks for gaps of files, opened once in each thread.

    Parameters
    ----------
    method : str
        ``"auto"``, or the name of a kind of networks that is a method for files.
    model : str
        ``"auto"``: those in the package; for the method ``"auto"`` by content, and none where there
        is none for this sample rate, ONNX Runtime is not installed, or one of them is not sound
        (which :mod:`plc.notice` is told). ``"ar"``: none. Any other: a name or a path.
    sample_rate : int, in Hz
    content : str
        As for :class:`~plc.StreamConfig`: of the package's, those for other content stay closed.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If a model that was asked for cannot be used.
    """
    key = (method, model, sample_rate, content)
    fillers: dict[tuple[str, str, int, str], GapFiller | None]
    fillers = opened.__dict__.setdefault("fillers", {})
    if key not in fillers:
        fillers[key] = _open(*key)
    return fillers[key]


def _open(method: str, model: str, sample_rate: int, content: str) -> GapFiller | None:
    if method == "auto" and model in ("auto", "ar"):
        return _of_the_package(sample_rate, content) if model == "auto" else None
    if model == "ar":
        raise ConfigError(
            f"method {method} needs a network, and model ar means none; leave the model to auto, "
            f"or name one of kind {method}"
        )
    manifests = find_models(method, model)
    kind = manifests[0].kind if method == "auto" else method
    place = KINDS[kind].gaps
    if not place:
        raise ConfigError(
            f"model {manifests[0].name} is of kind {kind}, which fills no gaps of files: plc "
            "models lists those that do"
        )
    for manifest in manifests:
        check_kind(manifest, kind)
    filler: GapFiller = opener(place)(manifests, sample_rate)
    return filler


def _of_the_package(sample_rate: int, content: str) -> GapFiller | None:
    played = CONTENTS if content == "auto" else (content,)
    by_content: dict[str, Manifest] = {}
    of_speech: set[str] = set()
    for manifest in available():
        low, high = manifest.sample_rates
        if not low <= sample_rate <= high:
            continue
        if manifest.kind == "inpaint":
            contents = [each for each in played if manifest.content in (each, "any")]
            by_content = dict.fromkeys(contents, manifest) | by_content
        elif manifest.content == "speech" and "speech" in played:
            of_speech.add(manifest.kind)
    if not by_content or find_spec("onnxruntime") is None:
        return None
    try:
        spoken: SpokenGaps | None = None
        if {"causal", "bridge"} <= of_speech:
            spoken = opener("plc.files.fill.spoken:SpokenGaps")(sample_rate)
        return TwoSidedNetworks(by_content, sample_rate, spoken)
    except (ModelError, MissingExtraError) as error:
        notice.tell(f"gaps are filled without a network: {in_a_line(error)}")
        return None
