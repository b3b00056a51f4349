"""WebRTC's NetEq: the jitter buffer, decoder and concealment of browsers, run as it is.

A small driver (``neteq_driver.cc``) pushes uncompressed packets through it on a simulated clock. It
is compiled once, against the static WebRTC in Debian's libtgowt-dev, into the user's cache.

NetEq adds and removes samples when it conceals and merges, so that its output shifts against the
recording by 10 to 40 ms over a clip. One delay, the median of those it states, is taken out here.
Metrics by sample or by frame are then not meaningful; PLCMOS is, and with care PESQ, which aligns
by itself.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc_bench.base.corpus import Samples
from plc_bench.peers.base import PEER_TIMEOUT_S, Contender, PeerError, run_program
from plc_bench.peers.rates import at_rate, fitted, to_float, to_int16, whole_packet
from plc_bench.scores.metrics import Mask
from plc_kernels.build.own_folder import cache_root

RATES = (8_000, 16_000, 32_000, 48_000)  # of AudioDecoderL16
SOURCE = Path(__file__).with_name("neteq_driver.cc")
HEADERS = Path("/usr/include/tg_owt")
_PACKAGES = "g++ libtgowt-dev libabsl-dev libopus-dev"
_BUILD_TIMEOUT_S = 300.0
# Blocks of 10 ms that are taken out behind the last packet, as the output comes late.
_TAIL_TICKS = 50
_DEFINES = (
    *("WEBRTC_POSIX", "WEBRTC_LINUX", "WEBRTC_APM_DEBUG_DUMP=0", "WEBRTC_ENABLE_PROTOBUF=0"),
    *("RTC_DISABLE_TRACE_EVENTS", "WEBRTC_NON_STATIC_TRACE_EVENT_HANDLERS=1", "NDEBUG"),
)


@dataclass(frozen=True, slots=True)
class Played:
    """The sound of a receiver, and counts after each block, in samples."""

    heard: Samples
    """Shape (samples, channels)."""
    made_up: NDArray[np.float64]
    inserted: NDArray[np.float64]
    """By playing slower."""
    behind: NDArray[np.float64] | None = None
    """Its delay behind the recording as NetEq states it; NaN where it does not know."""


class NetEq:
    """NetEq without jitter."""

    coded = True

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Play the stream."""
        rate = sample_rate if sample_rate in RATES else 48_000
        packet = whole_packet(packet_samples, sample_rate, rate)
        return at_rate(signal, sample_rate, rate, lambda there: _run(there, trace, packet, rate))


def peer(name: str) -> Contender:
    """Return the contender of a name; it has no options."""
    if name != "neteq":
        raise ConfigError(f"peer {name!r}: neteq has no options")
    return NetEq()


def driver() -> Path:
    """Return the driver; compile it if the cache has none.

    Raises
    ------
    PeerError
        If a package is missing, or the compiler fails.
    """
    key = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    program = cache_root() / f"neteq-{key}"
    if program.exists():
        return program
    if not HEADERS.is_dir():
        raise PeerError(f"{HEADERS} does not exist: apt-get install {_PACKAGES}")
    try:
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:
            built = Path(folder, program.name)
            run_program(_build_command(built), _BUILD_TIMEOUT_S)
            os.replace(built, program)  # at once: another process may be building it, too
    except OSError as error:
        raise PeerError(f"cannot write {program}: {error.strerror}") from error
    except PeerError as error:
        raise PeerError(f"the driver cannot be built: {error}; it needs {_PACKAGES}") from error
    return program


def _build_command(target: Path) -> list[str]:
    abseil = sorted(str(path) for path in Path("/usr/lib").glob("*/libabsl_*.a"))
    return [
        *("g++", "-std=c++20", "-O2", "-ffunction-sections", f"-I{HEADERS}"),
        *(f"-D{define}" for define in _DEFINES),
        *("-o", str(target), str(SOURCE), "-Wl,--gc-sections", "-l:libtg_owt.a"),
        *("-Wl,--start-group", *abseil, "-Wl,--end-group", "-lpthread", "-lopus"),
    ]


def _run(signal: Samples, trace: Mask, packet: int, rate: int) -> Samples:
    whole = trace.size * packet
    arrivals_ms = np.where(trace, np.inf, np.arange(1, trace.size + 1) * 1000.0 * packet / rate)
    ticks = -(-100 * whole // rate) + _TAIL_TICKS
    played = play_schedule(fitted(signal, whole), arrivals_ms, rate, ticks, stretches=False)
    assert played.behind is not None
    # Without the delays after the last packet, where it only continues.
    behind = played.behind[np.isfinite(played.behind)][: max(1, 100 * whole // rate)]
    if not behind.size:
        raise PeerError("NetEq played nothing; were all packets lost?")
    delay = max(0, int(np.median(behind)))
    return played.heard[delay : delay + whole]


def play_schedule(
    signal: Samples,
    arrivals_ms: NDArray[np.float64],
    rate: int,
    ticks: int,
    min_delay_ms: int = 0,
    *,
    stretches: bool = True,
) -> Played:
    """Play whole packets of a signal, shape (n, channels), that arrive at these times in ms.

    They count from the first sample's recording; infinite: lost; NaN: never sent, as in a pause.
    ``ticks`` blocks of 10 ms are played, the first one due at 10 ms.
    """
    words = {"inf": "lost", "nan": "unsent"}
    channels = signal.shape[1]
    numbers = (rate, channels, len(signal) // arrivals_ms.size, ticks, int(stretches), min_delay_ms)
    with tempfile.TemporaryDirectory(prefix="plc-neteq-") as folder:
        names = ("in.raw", "arrivals", "out.raw", "counters")
        source, schedule, target, counters = files = [Path(folder, name) for name in names]
        source.write_bytes(to_int16(signal).tobytes())
        schedule.write_text("\n".join(words.get(str(at), str(at)) for at in arrivals_ms.tolist()))
        run_program([str(word) for word in (driver(), *numbers, *files)], PEER_TIMEOUT_S)
        played = to_float(np.fromfile(target, np.int16).reshape(-1, channels))
        behind, made_up, inserted = np.loadtxt(counters, ndmin=2).T
    return Played(played, made_up, inserted, behind)
