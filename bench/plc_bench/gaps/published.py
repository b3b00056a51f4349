"""Score fills on the clips and gaps that others published: ``plc bench papers published``.

Two layouts of a folder are known; nothing of such a folder comes with this project.

``clips`` [1]_
    ``NAME_clean.wav``, and ``NAME_GAP_METHOD.wav`` for each length of gap in ms and each method,
    all of one length. The gaps are where the outputs differ from the clean clip; outputs that
    differ elsewhere, too, such as a listening test's anchor, only count as methods. SNR of all
    lost samples of a clip, mean over clips, as in that document.
``EBU_SQAM.mat`` [2]_
    Clips of the EBU as variables, with ``fs``. The gaps are those that its program draws: eight in
    each clip and length, from MATLAB's generator at its default seed. SNR of each gap, mean over
    gaps and clips, as in that document.

References
----------
.. [1] O. Mokrý, P. Rajmic, "On the use of autoregressive methods for audio inpainting", EUSIPCO,
   2025, arXiv 2403.04433: folder ``docs/audio`` of its repository.
.. [2] O. Mokrý, P. Rajmic, "Audio inpainting: revisited and reweighted", IEEE/ACM TASLP 28, 2020:
   ``EBU_SQAM.mat`` and ``inpainting_comparison_multigap.m`` of its repository.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.errors import AudioFileError, ConfigError
from plc.notice import counted
from plc_bench.base.compare import summarise
from plc_bench.base.corpus import Samples, read_clip
from plc_bench.base.tables import Table
from plc_bench.gaps.twosided import fill
from plc_bench.scores import metrics

QUALITY = "good"
"""Of all fills, as ``plc inpaint`` takes it."""
SQAM = "EBU_SQAM.mat"
SQAM_CLIPS = (
    "a08_violin",
    "a16_clarinet",
    "a18_bassoon",
    "a25_harp",
    "a35_glockenspiel",
    "a41_celesta",
    "a42_accordion",
    "a58_guitar_sarasate",
    "a60_piano_schubert",
    "a66_wind_ensemble_stravinsky",
)
SQAM_GAPS_MS = tuple(range(5, 55, 5))
_SQAM_GAPS_PER_CLIP = 8
_SQAM_WINDOW = 2800
_SQAM_EDGE_S = 0.5
# MATLAB's ``rng(0)`` starts the Mersenne Twister with this number.
_MATLAB_SEED = 5489
_CLEAN = "_clean.wav"
# Samples between two differences that are one gap: an output may equal the clip by chance.
_JOIN_MS = 1.0
# What 16 bits make of one value on two ways.
_SAME = 1.5 / 32768.0
# An output of which more differs than this many times its gaps was changed elsewhere, too.
_ELSEWHERE = 1.5

Gaps = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A clip with its gaps of one length.

    Attributes
    ----------
    clean : float32, shape (n,), full scale 1.0
    gaps : tuple of (start, stop), in samples
    outputs : dict
        What others made of it, by method: float32, shape (n,).
    each : bool
        Whether the SNR is taken of each gap; else of all lost samples together.
    """

    clip: str
    gap_ms: int
    sample_rate: int
    clean: Samples
    gaps: Gaps
    outputs: dict[str, Samples]
    each: bool

    @property
    def name(self) -> str:
        """Name in a failure."""
        return f"{self.clip}, {self.gap_ms} ms"


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """SNR in dB of one clip and length of gap, by method."""

    clip: str
    gap_ms: int
    snr_db: dict[str, float]


def find_cases(folder: Path, gaps_ms: Sequence[int] = ()) -> list[Case]:
    """Return the cases of a folder, of some lengths of gap; without any, of all.

    Raises
    ------
    ConfigError
        If the folder has no known layout, or no such gaps.
    AudioFileError
        If a file in it cannot be read, or differs in length from its clip.
    """
    if (folder / SQAM).is_file():
        cases = _sqam_cases(folder / SQAM, gaps_ms)
    else:
        cases = [
            case
            for clean in sorted(folder.glob(f"*{_CLEAN}"))
            for case in _clip_cases(clean, gaps_ms)
        ]
    if not cases:
        wanted = f" with gaps of {', '.join(map(str, gaps_ms))} ms" if gaps_ms else ""
        raise ConfigError(
            f"{folder} holds nothing that is known{wanted}; expected NAME{_CLEAN} with "
            f"NAME_20_METHOD.wav, or {SQAM}"
        )
    return cases


def score_case(case: Case, methods: tuple[str, ...]) -> PublishedScore:
    """Return the SNR of others' outputs and of ``methods``."""
    damaged = case.clean.copy()
    for start, stop in case.gaps:
        damaged[start:stop] = 0.0
    fills = {
        method: fill(damaged, case.gaps, case.sample_rate, method, QUALITY) for method in methods
    }
    return PublishedScore(
        case.clip,
        case.gap_ms,
        {name: _snr_db(case, made) for name, made in (fills | case.outputs).items()},
    )


def result_table(scores: Sequence[PublishedScore], methods: Sequence[str]) -> Table:
    """Return the mean SNR by method, ours first, and length of gap."""
    lengths = sorted({score.gap_ms for score in scores})
    clips = len({score.clip for score in scores})
    title = f"SNR in dB, {counted(clips, 'clip')}, quality {QUALITY}"
    table = Table(title, ("method", *(f"{length} ms" for length in lengths)))
    found = {name for score in scores for name in score.snr_db}
    for name in (*methods, *sorted(found.difference(methods))):
        cells = [
            summarise(
                [one.snr_db.get(name, math.nan) for one in scores if one.gap_ms == length]
            ).mean
            for length in lengths
        ]
        table.add(name, *["" if math.isnan(cell) else f"{cell:.1f}" for cell in cells])
    return table


def _snr_db(case: Case, made: Samples) -> float:
    if case.each:
        parts = [
            metrics.snr_db(case.clean[start:stop], made[start:stop]) for start, stop in case.gaps
        ]
        return float(np.mean(parts))
    lost = np.concatenate([np.arange(start, stop) for start, stop in case.gaps])
    return metrics.snr_db(case.clean[lost], made[lost])


def _clip_cases(clean: Path, gaps_ms: Sequence[int]) -> list[Case]:
    name = clean.name.removesuffix(_CLEAN)
    recording = read_clip(clean)
    signal = _mono(recording.signal)
    lengths: dict[int, dict[str, Samples]] = {}
    for path in sorted(clean.parent.glob(f"{name}_*.wav")):
        found = re.fullmatch(r"(\d+)_(.+)", path.stem.removeprefix(f"{name}_"))
        if found is None or (gaps_ms and int(found[1]) not in gaps_ms):
            continue
        output = _mono(read_clip(path).signal)
        if output.size != signal.size:
            raise AudioFileError(
                f"{path} has {output.size} samples and {clean.name} {signal.size}; expected as many"
            )
        lengths.setdefault(int(found[1]), {})[found[2]] = output
    return [
        Case(
            name,
            length,
            recording.sample_rate,
            signal,
            _gaps_between(signal, outputs, length, recording.sample_rate, name),
            outputs,
            each=False,
        )
        for length, outputs in sorted(lengths.items())
    ]


def _gaps_between(
    clean: Samples, outputs: dict[str, Samples], gap_ms: int, sample_rate: int, name: str
) -> Gaps:
    """Return where the outputs that differ least differ from the clean clip."""
    differ = {key: np.abs(made - clean) > _SAME for key, made in outputs.items()}
    least = min((int(mask.sum()) for mask in differ.values() if mask.any()), default=0)
    if not least:
        raise ConfigError(f"{name}: no output of {gap_ms} ms gaps differs from the clean clip")
    lost = np.logical_or.reduce(
        [mask for mask in differ.values() if mask.sum() <= _ELSEWHERE * least]
    )
    places = np.flatnonzero(lost)
    join = max(1, round(_JOIN_MS * sample_rate / 1000))
    cuts = np.flatnonzero(np.diff(places) > join)
    starts = [int(places[0]), *(int(places[cut + 1]) for cut in cuts)]
    stops = [*(int(places[cut]) + 1 for cut in cuts), int(places[-1]) + 1]
    longest = max(stop - start for start, stop in zip(starts, stops, strict=True))
    expected = round(gap_ms * sample_rate / 1000)
    if longest > expected + join:
        raise ConfigError(
            f"{name}: outputs differ from the clean clip over {longest} samples in a row; expected "
            f"gaps of {gap_ms} ms, which are {expected}"
        )
    return tuple(zip(starts, stops, strict=True))


def _sqam_cases(path: Path, gaps_ms: Sequence[int]) -> list[Case]:
    from scipy.io import loadmat

    try:
        held = loadmat(str(path), variable_names=["fs", *SQAM_CLIPS])
    except Exception as error:  # its reader lets errors of many kinds through
        raise AudioFileError(f"cannot read {path}: {error}") from error
    missing = [name for name in ("fs", *SQAM_CLIPS) if name not in held]
    if missing:
        raise AudioFileError(f"{path} has no variable {', '.join(missing)}")
    rate = int(np.asarray(held["fs"]).item())
    clips = [np.asarray(held[name], np.float32).ravel() for name in SQAM_CLIPS]
    drawn = np.random.RandomState(_MATLAB_SEED)
    cases = []
    for name, clip in zip(SQAM_CLIPS, clips, strict=True):
        for length in SQAM_GAPS_MS:
            gaps = _sqam_gaps(clip.size, rate, length, drawn.random_sample(_SQAM_GAPS_PER_CLIP))
            if not gaps_ms or length in gaps_ms:
                cases.append(Case(name, length, rate, clip, gaps, {}, each=True))
    return cases


def _sqam_gaps(samples: int, rate: int, gap_ms: int, drawn: NDArray[np.float64]) -> Gaps:
    """Return the gaps of a clip, as the document's program places them."""
    gap = _rounded(rate * gap_ms / 1000)
    segment = _rounded((samples - 2 * _SQAM_EDGE_S * rate) / _SQAM_GAPS_PER_CLIP)
    room = segment - 2 * _SQAM_WINDOW - gap
    starts = [
        _rounded(_SQAM_EDGE_S * rate) + k * segment + _rounded(_SQAM_WINDOW + 1 + value * room) - 1
        for k, value in enumerate(drawn)
    ]
    return tuple((start, start + gap) for start in starts)


def _rounded(value: float) -> int:
    """Round halves up, as MATLAB does with positive numbers."""
    return math.floor(value + 0.5)


def _mono(signal: Samples) -> Samples:
    mono: Samples = signal.mean(axis=1, dtype=np.float32)
    return mono
