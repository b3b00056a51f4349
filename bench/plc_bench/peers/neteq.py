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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc_bench.peers.base import PEER_TIMEOUT_S, Contender, PeerError, run_program
from plc_bench.peers.rates import at_rate, fitted, to_float, to_int16, whole_packet
from plc_bench.scores.metrics import Mask
from plc_kernels.build.own_folder import cache_root

RATES = (8_000, 16_000, 32_000, 48_000)  # of AudioDecoderL16
SOURCE = Path(__file__).with_name("neteq_driver.cc")
HEADERS = Path("/usr/include/tg_owt")
_PACKAGES = "g++ libtgowt-dev libabsl-dev libopus-dev"
_BUILD_TIMEOUT_S = 300.0
_DEFINES = (
    *("WEBRTC_POSIX", "WEBRTC_LINUX", "WEBRTC_APM_DEBUG_DUMP=0", "WEBRTC_ENABLE_PROTOBUF=0"),
    *("RTC_DISABLE_TRACE_EVENTS", "WEBRTC_NON_STATIC_TRACE_EVENT_HANDLERS=1", "NDEBUG"),
)


class NetEq:
    """NetEq without jitter."""

    coded = True

    def play(
        self, signal: NDArray[np.float32], trace: Mask, packet_samples: int, sample_rate: int
    ) -> NDArray[np.float32]:
        """Play the stream."""
        program = driver()
        rate = sample_rate if sample_rate in RATES else 48_000
        packet = whole_packet(packet_samples, sample_rate, rate)
        return at_rate(
            signal, sample_rate, rate, lambda there: _run(program, there, trace, packet, rate)
        )


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


def _run(
    program: Path, signal: NDArray[np.float32], trace: Mask, packet: int, rate: int
) -> NDArray[np.float32]:
    channels = signal.shape[1]
    with tempfile.TemporaryDirectory(prefix="plc-neteq-") as folder:
        source, lost, target, delays = (
            Path(folder, name) for name in ("in.raw", "lost", "out.raw", "delays")
        )
        whole = trace.size * packet
        source.write_bytes(to_int16(fitted(signal, whole)).tobytes())
        lost.write_bytes(bytes(trace.astype(np.uint8) + ord("0")))
        numbers = [str(rate), str(channels), str(packet)]
        files = [str(path) for path in (source, lost, target, delays)]
        run_program([str(program), *numbers, *files], PEER_TIMEOUT_S)
        played = np.fromfile(target, np.int16).reshape(-1, channels)
        behind = [int(line) for line in delays.read_text().split()]
    if not behind:
        raise PeerError("NetEq played nothing; were all packets lost?")
    # Without the delays after the last packet, where it only continues.
    delay = max(0, int(np.median(behind[: max(1, 100 * whole // rate)])))
    return to_float(played[delay : delay + whole])
