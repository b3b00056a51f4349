"""PortAudio, by sounddevice or by PyAudio: the only module that knows a sound card.

sounddevice takes a callback of machine code (:func:`plc_kernels.signal.ring.device_callback`),
which needs no Python; that is the default. PyAudio calls Python, which copies and no more; it may
be held up by whatever else holds the interpreter's lock.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError, DeviceError, MissingExtraError
from plc.extras import install_command
from plc.transport.cards.card_ring import Ring
from plc.transport.cards.devices import Backend, Device
from plc_kernels.signal.ring import device_callback

_NO_LIBRARY = "PortAudio itself is missing: apt-get install libportaudio2"
_RECORDINGS = "recordings need none: --in FILE --out FILE"


class SoundDeviceBackend:
    """PortAudio through sounddevice.

    Raises
    ------
    MissingExtraError
        If sounddevice, or the library beneath it, is not installed.
    """

    name = "sounddevice"

    def __init__(self) -> None:
        try:
            import sounddevice
        except ImportError as error:
            raise MissingExtraError(
                f"plc live needs sounddevice: {install_command('live')} (on Linux also "
                f"apt-get install libportaudio2); {_RECORDINGS}"
            ) from error
        except OSError as error:
            raise MissingExtraError(f"{_NO_LIBRARY}; {_RECORDINGS}") from error
        self.library: Any = sounddevice
        self._faults = sounddevice.PortAudioError, ValueError

    def devices(self) -> list[Device]:
        """Return the devices known when PortAudio was started."""
        try:
            apis = self.library.query_hostapis()
            found = self.library.query_devices()
        except self._faults as error:
            raise DeviceError(f"PortAudio cannot list devices: {error}") from error
        defaults = self.library.default.device
        return [
            _device(self.name, number, each, apis[each["hostapi"]], defaults)
            for number, each in enumerate(found)
        ]

    def takes(self, device: Device, is_input: bool, sample_rate: int, channels: int) -> bool:
        """Ask PortAudio."""
        check = getattr(self.library, f"check_{_way(is_input)}_settings")
        try:
            check(device=device.index, channels=channels, dtype="float32", samplerate=sample_rate)
        except self._faults:
            return False
        return True

    def open(
        self, device: Device, is_input: bool, sample_rate: int, block: int, ring: Ring
    ) -> "_CardStream":
        """Open a stream with a callback in machine code."""
        ffi = self.library._ffi
        try:
            # _StreamBase is there for libraries with callbacks of their own; its text says so.
            opened = self.library._StreamBase(
                _way(is_input),
                samplerate=sample_rate,
                blocksize=block,
                device=device.index,
                channels=ring.channels,
                dtype="float32",
                latency="low",
                callback=ffi.cast("PaStreamCallback *", device_callback(is_input)),
                userdata=ffi.cast("void *", ring.address),
            )
            # Playing or not: its device may be gone.
            endings = opened.abort, opened.close
            stream = _CardStream(
                ring, sample_rate, opened.latency, lambda: opened.active, endings, self._faults
            )
            try:
                opened.start()
            except BaseException:
                stream.close()
                raise
        except self._faults as error:
            raise DeviceError(f"cannot open {device.name}: {error}") from error
        return stream

    def refresh(self) -> None:
        """Start PortAudio anew."""
        with contextlib.suppress(*self._faults):
            self.library._terminate()
        try:
            self.library._initialize()
        except self._faults as error:
            raise DeviceError(f"PortAudio does not start: {error}") from error


class PyAudioBackend:
    """PortAudio through PyAudio.

    Raises
    ------
    MissingExtraError
        If PyAudio is not installed.
    """

    name = "pyaudio"

    def __init__(self) -> None:
        try:
            import pyaudio
        except ImportError as error:
            raise MissingExtraError(
                f"this back end needs PyAudio: {install_command('pyaudio')} (on Linux first "
                "apt-get install portaudio19-dev gcc)"
            ) from error
        self.library: Any = pyaudio
        self._faults = OSError, ValueError
        self._start()

    def _start(self) -> None:
        try:
            self._audio: Any = self.library.PyAudio()
        except OSError as error:
            raise DeviceError(f"PortAudio does not start: {error}") from error

    def devices(self) -> list[Device]:
        """Return the devices known when PortAudio was started."""
        audio = self._audio
        defaults = [-1, -1]
        for way, is_input in enumerate((True, False)):
            with contextlib.suppress(OSError):
                defaults[way] = getattr(audio, f"get_default_{_way(is_input)}_device_info")()[
                    "index"
                ]
        found = [audio.get_device_info_by_index(n) for n in range(audio.get_device_count())]
        return [
            _device(
                self.name, number, each, audio.get_host_api_info_by_index(each["hostApi"]), defaults
            )
            for number, each in enumerate(found)
        ]

    def takes(self, device: Device, is_input: bool, sample_rate: int, channels: int) -> bool:
        """Ask PortAudio."""
        asked = {"device": device.index, "channels": channels, "format": self.library.paFloat32}
        settings = {f"{_way(is_input)}_{name}": value for name, value in asked.items()}
        try:
            return bool(self._audio.is_format_supported(sample_rate, **settings))
        except self._faults:
            return False

    def open(
        self, device: Device, is_input: bool, sample_rate: int, block: int, ring: Ring
    ) -> "_CardStream":
        """Open a stream with a Python callback that only copies."""
        way = _way(is_input)
        try:
            opened = self._audio.open(
                rate=sample_rate,
                channels=ring.channels,
                format=self.library.paFloat32,
                frames_per_buffer=block,
                stream_callback=_copying(ring, block, is_input, self.library.paContinue),
                **{way: True, f"{way}_device_index": device.index},
            )
            latency_s = getattr(opened, f"get_{way}_latency")()
        except self._faults as error:
            raise DeviceError(f"cannot open {device.name}: {error}") from error
        endings = (opened.close,)
        return _CardStream(ring, sample_rate, latency_s, opened.is_active, endings, self._faults)

    def refresh(self) -> None:
        """Start PortAudio anew."""
        self._audio.terminate()
        self._start()


def _way(is_input: bool) -> str:
    return "input" if is_input else "output"


def _device(
    backend: str, number: int, said: Mapping[str, Any], api: Mapping[str, Any], defaults: Any
) -> Device:
    """Return a device as either library says it: max_input_channels, or maxInputChannels."""
    known = {name.replace("_", "").lower(): value for name, value in said.items()}
    return Device(
        backend=backend,
        index=number,
        name=str(known["name"]),
        host_api=str(api["name"]),
        inputs=int(known["maxinputchannels"]),
        outputs=int(known["maxoutputchannels"]),
        sample_rate=round(known["defaultsamplerate"]),
        is_default_input=number == defaults[0],
        is_default_output=number == defaults[1],
    )


class _CardStream:
    def __init__(
        self,
        ring: Ring,
        sample_rate: int,
        latency_s: float,
        is_active: Callable[[], bool],
        endings: tuple[Callable[[], object], ...],
        faults: tuple[type[Exception], ...],
    ) -> None:
        self.ring, self.sample_rate, self.channels = ring, sample_rate, ring.channels
        self.latency_s = float(latency_s)
        self._is_active, self._endings, self._faults = is_active, endings, faults

    @property
    def active(self) -> bool:
        try:
            return bool(self._is_active())
        except self._faults:
            return False

    def close(self) -> None:
        for end in self._endings:
            with contextlib.suppress(*self._faults):
                end()


def _copying(ring: Ring, block: int, is_input: bool, goes_on: int) -> Callable[..., Any]:
    """Return a callback for PyAudio, which copies between a ring and PortAudio's bytes."""
    boxes = [np.zeros((block, ring.channels), np.float32)]

    def box_of(n: int) -> NDArray[np.float32]:
        if n > len(boxes[0]):
            boxes[0] = np.zeros((n, ring.channels), np.float32)
        return boxes[0][:n]

    def record(given: bytes, n: int, _time: Any, flags: int) -> tuple[None, int]:
        box = box_of(n)
        # A copy, for the kernel knows no read-only arrays.
        box[:] = np.frombuffer(given, np.float32).reshape(n, ring.channels)
        ring.take_in(box, flags != 0)
        return None, goes_on

    def play(_given: None, n: int, _time: Any, flags: int) -> tuple[bytes, int]:
        box = box_of(n)
        ring.give_out(box, flags != 0)
        return box.tobytes(), goes_on

    return record if is_input else play


BACKENDS: dict[str, Callable[[], Backend]] = {
    SoundDeviceBackend.name: SoundDeviceBackend,
    PyAudioBackend.name: PyAudioBackend,
}


def open_backend(name: str) -> Backend:
    """Return the back end of that name: ``sounddevice`` or ``pyaudio``.

    Raises
    ------
    ConfigError
        If there is none of that name.
    MissingExtraError
        If its library is not installed; the message says how it is.
    """
    if name not in BACKENDS:
        raise ConfigError(f"no back end {name!r}; there are {', '.join(BACKENDS)}")
    return BACKENDS[name]()


_ASK_S = 2.0
_NAMES_MAX = 64


@dataclass(frozen=True, slots=True)
class SoundServer:
    """Names of a sound server's ends, as ``PULSE_SOURCE`` and ``PULSE_SINK`` take them."""

    sources: tuple[str, ...]
    sinks: tuple[str, ...]


def ask_sound_server() -> SoundServer | None:
    """Return the devices of the user's sound server, which PortAudio shows as one.

    By ``pactl``, which PulseAudio and PipeWire have; None without an answer.
    """
    pactl = shutil.which("pactl")
    if pactl is None:
        return None
    sources, sinks = _names(pactl, "sources"), _names(pactl, "sinks")
    return None if sources is None or sinks is None else SoundServer(sources, sinks)


def _names(pactl: str, kind: str) -> tuple[str, ...] | None:
    """Return the names of one kind: the second column of its list."""
    try:
        done = subprocess.run(
            [pactl, "list", "short", kind],
            capture_output=True,
            timeout=_ASK_S,
            check=True,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.split("\t") for line in done.stdout.decode(errors="replace").splitlines()]
    return tuple(row[1] for row in rows if len(row) > 1)[:_NAMES_MAX]
