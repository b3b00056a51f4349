"""PortAudio, by sounddevice or by PyAudio: the only module that knows a sound card.

sounddevice takes a callback of machine code (:func:`plc_kernels.signal.ring.device_callback`),
which needs no Python; that is the default. PyAudio calls Python, which copies and no more; it may
be held up by whatever else holds the interpreter's lock.
"""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import numpy as np

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

    def devices(self) -> list[Device]:
        """Return the devices known when PortAudio was started."""
        try:
            apis = self.library.query_hostapis()
            found = self.library.query_devices()
        except self.library.PortAudioError as error:
            raise DeviceError(f"PortAudio cannot list devices: {error}") from error
        default_input, default_output = self.library.default.device
        return [
            Device(
                backend=self.name,
                index=number,
                name=each["name"],
                host_api=apis[each["hostapi"]]["name"],
                inputs=each["max_input_channels"],
                outputs=each["max_output_channels"],
                sample_rate=round(each["default_samplerate"]),
                is_default_input=number == default_input,
                is_default_output=number == default_output,
            )
            for number, each in enumerate(found)
        ]

    def takes(self, device: Device, is_input: bool, sample_rate: int, channels: int) -> bool:
        """Ask PortAudio."""
        check = (
            self.library.check_input_settings if is_input else self.library.check_output_settings
        )
        try:
            check(device=device.index, channels=channels, dtype="float32", samplerate=sample_rate)
        except (self.library.PortAudioError, ValueError):
            return False
        return True

    def open(
        self, device: Device, is_input: bool, sample_rate: int, block: int, ring: Ring
    ) -> "_SoundDeviceStream":
        """Open a stream with a callback in machine code."""
        try:
            return _SoundDeviceStream(self.library, device, is_input, sample_rate, block, ring)
        except (self.library.PortAudioError, ValueError) as error:
            raise DeviceError(f"cannot open {device.name}: {error}") from error

    def refresh(self) -> None:
        """Start PortAudio anew."""
        with contextlib.suppress(self.library.PortAudioError):
            self.library._terminate()
        try:
            self.library._initialize()
        except self.library.PortAudioError as error:
            raise DeviceError(f"PortAudio does not start: {error}") from error


class _SoundDeviceStream:
    def __init__(
        self,
        library: Any,
        device: Device,
        is_input: bool,
        sample_rate: int,
        block: int,
        ring: Ring,
    ) -> None:
        ffi = library._ffi
        self._error = library.PortAudioError
        self.ring = ring
        self.sample_rate = sample_rate
        self.channels = ring.channels
        # _StreamBase is there for libraries with callbacks of their own; its text says so.
        self._stream = library._StreamBase(
            "input" if is_input else "output",
            samplerate=sample_rate,
            blocksize=block,
            device=device.index,
            channels=ring.channels,
            dtype="float32",
            latency="low",
            callback=ffi.cast("PaStreamCallback *", device_callback(is_input)),
            userdata=ffi.cast("void *", ring.address),
        )
        self.latency_s = float(self._stream.latency)
        try:
            self._stream.start()
        except BaseException:
            self.close()
            raise

    @property
    def active(self) -> bool:
        """As PortAudio says."""
        try:
            return bool(self._stream.active)
        except self._error:
            return False

    def close(self) -> None:
        """Close it, playing or not: its device may be gone."""
        with contextlib.suppress(self._error):
            self._stream.abort()
        with contextlib.suppress(self._error):
            self._stream.close()


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
        self._start()

    def _start(self) -> None:
        try:
            self._audio: Any = self.library.PyAudio()
        except OSError as error:
            raise DeviceError(f"PortAudio does not start: {error}") from error

    def devices(self) -> list[Device]:
        """Return the devices known when PortAudio was started."""
        audio = self._audio
        defaults = []
        for ask in (audio.get_default_input_device_info, audio.get_default_output_device_info):
            try:
                defaults.append(ask()["index"])
            except OSError:
                defaults.append(-1)
        found = []
        for number in range(audio.get_device_count()):
            each = audio.get_device_info_by_index(number)
            found.append(
                Device(
                    backend=self.name,
                    index=number,
                    name=str(each["name"]),
                    host_api=str(audio.get_host_api_info_by_index(each["hostApi"])["name"]),
                    inputs=int(each["maxInputChannels"]),
                    outputs=int(each["maxOutputChannels"]),
                    sample_rate=round(each["defaultSampleRate"]),
                    is_default_input=number == defaults[0],
                    is_default_output=number == defaults[1],
                )
            )
        return found

    def takes(self, device: Device, is_input: bool, sample_rate: int, channels: int) -> bool:
        """Ask PortAudio."""
        way = "input" if is_input else "output"
        settings = {
            f"{way}_device": device.index,
            f"{way}_channels": channels,
            f"{way}_format": self.library.paFloat32,
        }
        try:
            return bool(self._audio.is_format_supported(sample_rate, **settings))
        except (ValueError, OSError):
            return False

    def open(
        self, device: Device, is_input: bool, sample_rate: int, block: int, ring: Ring
    ) -> "_PyAudioStream":
        """Open a stream with a Python callback that only copies."""
        try:
            return _PyAudioStream(
                self.library, self._audio, device, is_input, sample_rate, block, ring
            )
        except (OSError, ValueError) as error:
            raise DeviceError(f"cannot open {device.name}: {error}") from error

    def refresh(self) -> None:
        """Start PortAudio anew."""
        self._audio.terminate()
        self._start()


class _PyAudioStream:
    def __init__(
        self,
        library: Any,
        audio: Any,
        device: Device,
        is_input: bool,
        sample_rate: int,
        block: int,
        ring: Ring,
    ) -> None:
        self.ring = ring
        self.sample_rate = sample_rate
        self.channels = ring.channels
        self._continue = library.paContinue
        self._inbox = np.zeros((block, ring.channels), np.float32)
        way = "input" if is_input else "output"
        self._stream = audio.open(
            rate=sample_rate,
            channels=ring.channels,
            format=library.paFloat32,
            frames_per_buffer=block,
            stream_callback=self._record if is_input else self._play,
            **{way: True, f"{way}_device_index": device.index},
        )
        latency = self._stream.get_input_latency if is_input else self._stream.get_output_latency
        self.latency_s = float(latency())

    def _box(self, n: int) -> Any:
        if n > len(self._inbox):
            self._inbox = np.zeros((n, self.channels), np.float32)
        return self._inbox[:n]

    def _record(self, given: bytes, n: int, _time: Any, flags: int) -> tuple[None, int]:
        box = self._box(n)
        # A copy, for the kernel knows no read-only arrays.
        box[:] = np.frombuffer(given, np.float32).reshape(n, self.channels)
        self.ring.take_in(box, flags != 0)
        return None, self._continue

    def _play(self, _given: None, n: int, _time: Any, flags: int) -> tuple[bytes, int]:
        box = self._box(n)
        self.ring.give_out(box, flags != 0)
        return box.tobytes(), self._continue

    @property
    def active(self) -> bool:
        """As PortAudio says."""
        try:
            return bool(self._stream.is_active())
        except OSError:
            return False

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            self._stream.close()


BACKENDS: dict[str, type[SoundDeviceBackend] | type[PyAudioBackend]] = {
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
    backend: Backend = BACKENDS[name]()
    return backend


_ASK_S = 2.0
_NAMES_MAX = 64


@dataclass(frozen=True, slots=True)
class SoundServer:
    """Names of a sound server's ends.

    Attributes
    ----------
    sources, sinks : tuple of str
        Inputs and outputs, as ``PULSE_SOURCE`` and ``PULSE_SINK`` take them.
    """

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
