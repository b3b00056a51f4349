"""Write with which types Python calls the kernels: ``kernel_types.py FILE``.

``machine_code.py`` starts this where numba compiles. It does in short what the package does:
streams, files and networks, repair and measurement of the recordings that the package brings.
"""

import contextlib
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plc
from plc.engine.models.catalogue import find
from plc.engine.networks.gap_spectra import GapSpectra
from plc.engine.predict.sides import bridged_along_the_pitch
from plc.engine.stream.methods import BASELINES, RECORDING_METHODS
from plc.files.audio import AudioReader
from plc.files.fill.signal_background import Background
from plc.files.fill.signals import inpaint
from plc.files.whole import conceal
from plc.papers.representations.bands import Bands, octaves
from plc.programs.doctor_networks import examine_networks
from plc.transport.cards.card_ring import Ring
from plc.transport.cards.rates import RateConverter
from plc.transport.rtp.codecs import open_codec
from plc.transport.rtp.pieces import warm_up
from plc_kernels.build.jit import LeanCache
from plc_kernels.signal.fade import burst_gain

_CLIPS = Path(plc.__file__).parent / "data"
_RATES = (8_000, 16_000, 48_000)


def main() -> None:
    """Do what the module says."""
    (path,) = sys.argv[1:]
    warm_up()
    examine_networks([find("speech")])
    for rate in _RATES:
        _conceal_a_second(rate)
    for name in ("speech", "music"):
        with AudioReader(_CLIPS / f"{name}.flac") as reader:
            clip = np.concatenate(list(reader.stream(1 << 16)))[: 3 * reader.sample_rate]
        _repair(clip, reader.sample_rate)
    _use_ends()
    _measure(np.ascontiguousarray(clip[:, 0]), reader.sample_rate)
    Path(path).write_bytes(pickle.dumps(_signatures()))


def _conceal_a_second(rate: int) -> None:
    """Conceal noise as ``plc conceal`` does, with the networks that are installed."""
    noise = np.random.default_rng(0).normal(0.0, 0.1, (rate, 1)).astype(np.float32)
    lost = np.arange(50) % 10 >= 8
    conceal(noise, lost, sample_rate=rate, packet_ms=20.0)
    conceal(noise, lost, sample_rate=rate, packet_ms=20.0, lookahead=1)


def _repair(clip: NDArray[np.float32], rate: int) -> None:
    """Fill gaps by everything that fills them, and look for damage."""
    gaps = [(place * rate // 10, place * rate // 10 + rate // 40) for place in (5, 6, 14, 21)]
    for method in (*RECORDING_METHODS, *BASELINES):
        with contextlib.suppress(ValueError):  # not for this rate, or this length
            inpaint(clip, gaps, sample_rate=rate, method=method)
    clicks = [(rate + k * rate // 500, rate + k * rate // 500 + 1 + k) for k in range(8)]
    for quality in ("fast", "good", "best"):
        inpaint(clip, gaps, sample_rate=rate, quality=quality)
        inpaint(clip, clicks, sample_rate=rate, quality=quality)
    at = gaps[0][0]
    line = np.ascontiguousarray(clip[:, 0])
    bridged_along_the_pitch(line[:at], line[at + rate // 40 :], rate // 40, rate)
    damaged = clip.copy()
    for begin, end in gaps[:2]:
        damaged[begin:end] = damaged[2 * begin - end : begin]
    for begin, end in gaps[2:]:
        damaged[begin:end] *= 0.0
    damaged[rate, :] = 0.9
    plc.detect(damaged, sample_rate=rate)


def _use_ends() -> None:
    """Do what stands at the ends of a stream."""
    samples = np.zeros((480, 2), np.float32)
    ring = Ring(960, 2)
    ring.take_in(samples, False)
    ring.read(samples)
    ring.write(samples)
    ring.give_out(samples, False)
    RateConverter(48_000, 44_100, 2).convert(samples)
    codec = open_codec("l16", 48_000, 2)
    codec.decode(codec.encode(samples))
    background = Background(1, 16_000, 0)
    background.interrupt()
    background.listen(samples[:160].T[:1])
    background.make_noise(np.zeros((1, 160), np.float32))
    assert (background.content, background.unsteady) == ("music", False)
    spectra = GapSpectra(find("speech"), 16_000, 1)
    spectra.analyse()
    spectra.synthesise()


def _measure(x: NDArray[np.float32], rate: int) -> None:
    """Do what papers, plc bench and plc train measure by kernels, where they are installed."""
    bands = Bands(octaves, rate, 16_384)
    bands.inverse(bands.forward(x[:16_384]))
    burst_gain(0, 1, 1, np.ones(1, np.float32))
    with contextlib.suppress(ImportError):
        from plc_bench.papers.phase import GRIDS, score_signal

        for grid in GRIDS:
            score_signal(x[:rate], grid, rate, 2)
    with contextlib.suppress(ImportError):
        from plc_bench.scores.metrics import click_ratio

        click_ratio(x[:rate, None], x[:rate, None], np.arange(rate) % 4800 < 480, rate)
    with contextlib.suppress(ImportError):
        from plc_training.fits.contour import places_of

        places_of(x[: 2 * rate])


def _signatures() -> list[tuple[str, str, tuple[Any, ...]]]:
    """Return module, name and types of arguments of the kernels that Python called."""
    modules = [module for name, module in sys.modules.items() if name.startswith("plc")]
    found = {
        id(value): value
        for module in modules
        for value in vars(module).values()
        if isinstance(getattr(value, "_cache", None), LeanCache)
    }
    return [
        (each.py_func.__module__, each.py_func.__name__, types)
        for each in found.values()
        for types in each.overloads
    ]


if __name__ == "__main__":
    main()
