"""Mismatches between received packets and the settings, with the matching option.

::

    another payload type             the first packets of it           --payload-type, --codec, …
    packets without a whole sample   the first packets                 --codec
    bytes for each tick of time      packets in a row, by timestamps   --channels, --codec
    ticks in a second                two stretches, by the clock       --sample-rate

A receiver that takes such a stream plays noise, at another speed, or nothing, and none of it is an
error by itself. What is found is a line of text, made where the packet comes and told by whoever
looks (:func:`plc.transport.relay.relay.run_relay`); there are few for each stream, so nobody can
fill a log.

A static payload type is what RFC 3551 says. Another number is played as the stream's own coding if
packets in a row make audio as that alone; of Opus, if they begin as those before; never as G.722,
as which any bytes decode.

No clock is read. Memory is one count for each payload type and the last packet's numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from plc import notice
from plc.transport.rtp.codecs import STATIC_CODINGS, Codec, open_codec, samples_per_tick
from plc.transport.rtp.coding import SAMPLE_BYTES, Coding, guess, is_blank, is_noise
from plc.transport.rtp.libopus import opus_samples
from plc.transport.rtp.multicast import in_url
from plc.transport.rtp.packets import SEQUENCE_BITS, TIMESTAMP_BITS, Malformed, RtpPacket, parse_red

# RFC 3551, table 4: what has a number of its own, and that no codec here takes.
OTHER_STATIC = {
    3: "GSM",
    4: "G.723",
    5: "DVI4, 8000 Hz",
    6: "DVI4, 16000 Hz",
    7: "LPC",
    9: "G.722",
    12: "QCELP",
    13: "comfort noise",
    14: "MPEG audio",
    15: "G.728",
    16: "DVI4, 11025 Hz",
    17: "DVI4, 22050 Hz",
    18: "G.729",
}
COMFORT_NOISE = 13
# A level, and up to ten coefficients (RFC 3389); dynamic types have it, too.
_NOISE_BYTES_MAX = 11
# Payload types from here on say nothing by themselves; those below the second are RFC 3551's.
_DYNAMIC, _ASSIGNED = 96, 35
# A telephone event (RFC 4733): code, end and volume, duration.
_EVENT_BYTES = 4

# Packets before something is said: a stray one is no stream.
_ENOUGH = 3
_IN_A_ROW = 8
# Told of a stream at most; each thing once.
_MOST = 4
# After this long without its audio, what a stream sends of other types stands for it: a telephone
# event is not as long. Types that are audio by their number stand for it at once.
_BRIEF_S = 5.0
# Sizes are compared with the clock for so long, before anything is said of them.
_SIZE_S = 0.3
# Samples in a second are those configured up to this share, as jitter has it.
_PACE_TOLERANCE = 0.2
# Rates are measured over such a stretch, two in a row: what jitter adds to one, the next is short
# of. 44.1 and 48 kHz differ by 9 %.
_STRETCH_S = 1.5
_RATE_TOLERANCE = 0.02
_USUAL_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200,
                96_000, 176_400, 192_000)  # fmt: skip
# So many packets of another coding in a row are not played, nor those after, until so many are not.
_OTHERS, _MISREAD = 3, 25
# Packets of these have one size, so that what they are cannot be told by it.
_OF_ONE_SIZE = ("pcmu", "pcma", "g722")
# Of a frame (RFC 6716, section 3.4).
_OPUS_BYTES_MAX = 1275
# A pause within a stretch, and it begins again.
_PAUSE_S = 0.25


# Of each sign: what comes, what it is not, and what to do.
_SIGNS = {
    "type": ("payload type {number}", "not {own_number} ({own})", "{advice}"),
    "moved": (
        "payload type {number}",
        "not {own_number} ({own})",
        "it is played, as it decodes as that",
    ),
    "size": ("packets of {size} bytes", "which are not {own}", "see --codec and --channels"),
    "channels": ("{size} bytes for each {samples} samples", "which is not {own}", "{advice}"),
    "stamps": (
        "timestamps that advance by {ticks} for {samples} samples",
        "though as many come as of {own}",
        "they are played by their numbers; let the sender count {count}",
    ),
    "rate": ("timestamps that advance by {rate} a second", "not by {own_rate}", "{advice}"),
}

Reading = tuple[str, int, int, int]
"""The one coding that packets can be: codec, sample rate, channels, payload type."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that is not as configured.

    Attributes
    ----------
    payload_type, ssrc, payload_bytes : int
        Of the packet by which it was found.
    comes, expected, advice : str
        What it is, what it should have been, and what to do.
    reading : Reading or None
        By which it would be played, if one is certain.
    """

    payload_type: int
    ssrc: int
    payload_bytes: int
    comes: str
    expected: str
    advice: str
    reading: Reading | None

    def line(self, where: str, source: str) -> str:
        """Return a sentence about the packets that ``where`` receives from ``source``."""
        return f"{where} receives {self.comes} from {source}, {self.expected}: {self.advice}"

    def particulars(self) -> dict[str, int]:
        """Return its numbers, for an event."""
        names = ("payload_type", "ssrc", "payload_bytes")
        return {name: getattr(self, name) for name in names}


class _Own:
    """The configured coding, and the options by which other packets would be played."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.samples_per_tick = samples_per_tick(codec.name)
        self.sample_bytes = SAMPLE_BYTES.get(codec.name, 0)
        """Of a sample of one channel; 0 where sizes say nothing."""

    def __str__(self) -> str:
        return _described(self.codec.name, self.codec.sample_rate, self.codec.channels)

    def decodes(self, payload: bytes, before: bytes) -> bool:
        """Return whether a payload of another type is coded as one before."""
        name = self.codec.name
        if name == "g722":
            return False
        found = guess(payload, name)
        if name in SAMPLE_BYTES:
            return found is not None and found[0] == name
        is_long = len(payload) > _EVENT_BYTES
        return found is None and is_long and payload[0] >> 3 == before[0] >> 3

    def is_noise(self, packet: RtpPacket) -> bool:
        codec = self.codec
        return self.sample_bytes > 0 and is_noise(packet.payload, codec.name, codec.channels)

    def is_unlike(self, packet: RtpPacket, samples: int, ticks: int) -> bool:
        """Return whether a packet of this duration cannot be of this codec.

        Where sizes say nothing, only one that reaches into the next: pauses make the time longer.
        """
        if not self.sample_bytes:
            return self.codec.name == "opus" and samples > ticks
        return len(packet.payload) != ticks * self.sample_bytes * self.codec.channels

    def found(self, packet: RtpPacket, ticks: int) -> Coding | None:
        """Return the coding of a packet; None if it cannot be recognised."""
        codec = self.codec
        found = guess(packet.payload, codec.name, ticks // self.samples_per_tick)
        if found is None and self.may_be_opus(packet.payload, ticks) and self.is_noise(packet):
            return "opus", min(codec.channels, 2)
        return found

    def may_be_opus(self, payload: bytes, ticks: int) -> bool:
        is_linear = self.sample_bytes > 0 and len(payload) <= _OPUS_BYTES_MAX
        return is_linear and 0 < ticks == opus_samples(payload)

    def options(self, found: Coding, rate: int) -> list[str]:
        codec, (name, channels) = self.codec, found
        options = [f"--codec {name}"] if name != codec.name else []
        options += [f"--sample-rate {rate}"] if rate != codec.sample_rate else []
        return options + ([f"--channels {channels}"] if channels != codec.channels else [])

    def options_for(self, number: int, own_number: int) -> str:
        name, rate, channels = STATIC_CODINGS[number]
        options = self.options((name, channels), rate)
        if rate != self.codec.sample_rate or channels != self.codec.channels:
            options = options[: name != self.codec.name]
            options += [f"--sample-rate {rate}", f"--channels {channels}"]
        is_given = own_number != self.codec.payload_type
        if is_given or open_codec(name, rate, channels).payload_type != number:
            options.append(f"--payload-type {number}")
        return f"give {' '.join(options)}"

    def other(
        self, packet: RtpPacket, own_number: int, ticks: int, rate: int, fits: bool
    ) -> tuple[str, str, bool]:
        number = packet.payload_type
        if number in STATIC_CODINGS:
            name, rate, channels = STATIC_CODINGS[number]
            return _described(name, rate, channels), self.options_for(number, own_number), False
        if number == COMFORT_NOISE:
            return OTHER_STATIC[number], "that is a pause, in which nothing is to be played", False
        if number in OTHER_STATIC:
            advice = "no codec here takes that; let the sender use another"
            return OTHER_STATIC[number], advice, False
        own = self.codec.name, self.codec.channels
        found = guess(packet.payload, own[0], ticks // self.samples_per_tick)
        blocks = parse_red(packet.payload)
        types = () if isinstance(blocks, Malformed) else {each.payload_type for each in blocks}
        if found is None and types == {own_number}:
            return "redundant audio", f"give --red-payload-type {number}", False
        if found is None and fits and own[0] != "g722" and not self.is_noise(packet):
            found = own
        if found is not None:
            options = self.options(found, rate)
            return "", f"give {' '.join([*options, f'--payload-type {number}'])}", not options
        if number == 111 and own[0] != "opus":
            return "", f"give --payload-type {number} --codec opus if it is that", False
        return "", f"it is not {own[0]} as configured; name its codec by --codec", False


class _Rows:
    """Packets in a row of each payload type, by their numbers."""

    def __init__(self, own: _Own) -> None:
        self._own = own
        self._before: dict[int, tuple[int, int]] = {}
        """By type: number and timestamp of the last packet of it."""
        self._paced: dict[int, tuple[float, int]] = {}
        """By type: time and timestamp of the first packet in a row."""

    def ticks_to(self, packet: RtpPacket, now_s: float) -> int:
        """Return the ticks from the packet before of its type to this one; 0 without it."""
        now = packet.sequence, packet.timestamp
        before = self._before.get(packet.payload_type)
        self._before[packet.payload_type] = now
        if before is None or (now[0] - before[0]) % (1 << SEQUENCE_BITS) != 1:
            self._paced[packet.payload_type] = now_s, packet.timestamp
            return 0
        return (now[1] - before[1]) % (1 << TIMESTAMP_BITS)

    def rate_of(self, packet: RtpPacket, ticks: int, now_s: float) -> int:
        """Return the rate that stamps count at: of those that make packets of whole 0.5 ms, if any.

        It is the nearest to the pace; that of the settings where none is near.
        """
        begun_s, stamp = self._paced.get(packet.payload_type, (now_s, 0))
        passed = (packet.timestamp - stamp) % (1 << TIMESTAMP_BITS)
        own, ticks_each = self._own.codec.sample_rate, self._own.samples_per_tick
        if now_s <= begun_s or not ticks:
            return own // ticks_each
        pace = passed / (now_s - begun_s)
        whole = [rate for rate in _USUAL_RATES if 2000 * ticks % rate == 0]
        near = min(whole or _USUAL_RATES, key=lambda rate: abs(rate - pace))
        is_near = abs(near - pace) < _PACE_TOLERANCE * near
        return (near if is_near else own) // ticks_each


class Inspection:
    """Compares received packets with the settings; ``found``, in order, has 4 at most."""

    def __init__(self, codec: Codec, payload_type: int) -> None:
        self._own = _Own(codec)
        self._rows = _Rows(self._own)
        self._payload_type = payload_type
        self.found: list[Mismatch] = []
        self._told: set[object] = set()
        self._others = [0] * 128
        self._without_audio = 0
        self._audio_s = 0.0
        self._calm_from_s = math.inf
        """When all was as configured last; infinite: it is not."""
        self._last: tuple[RtpPacket, int] | None = None
        """The last packet of audio, and its samples."""
        self._unlike = 0
        self._unlike_channels = 0.0
        self._begun: tuple[float, int] | None = None
        self._samples = 0
        """Of the packets since then."""
        self._rate_before = 0
        self._tried: tuple[RtpPacket, int] | None = None
        self._has_fitted = False
        self._keeps_pace: bool | None = None
        self._misread = self._others_in_row = self._as_own = 0
        self._in_place = 0
        """Packets in a row of another type that go on as those before."""

    @property
    def is_misread(self) -> bool:
        """Whether packets of another coding come: played as this one they would be noise."""
        return self._misread > 0

    @property
    def is_settled(self) -> bool:
        """Whether packets were of the length that is configured, or are by the clock."""
        return self._has_fitted or self._keeps_pace is True

    # ---- what is not taken ----------------------------------------------------------------------

    def note_other(self, packet: RtpPacket, now_s: float) -> bool:
        """Take in a packet of another payload type; return whether it goes on with the audio."""
        number, ticks = packet.payload_type, self._rows.ticks_to(packet, now_s)
        last = None if self._last is None else self._last[0]
        is_own = last is not None and packet.ssrc == last.ssrc
        fits = ticks > 0 and ticks == self._own.codec.samples(packet.payload)
        goes_on = fits and is_own and number >= _ASSIGNED
        goes_on = goes_on and last is not None and self._own.decodes(packet.payload, last.payload)
        self._in_place = self._in_place + 1 if goes_on else 0
        if self._in_place == _ENOUGH:
            return self._move_to(packet)
        is_brief = number >= _DYNAMIC and now_s - self._audio_s < _BRIEF_S
        is_brief &= goes_on or not fits or is_blank(packet.payload)
        if (is_own and (is_brief or _is_comfort(packet))) or _is_event(packet):
            return False
        self._others[number] += 1
        if self._others[number] == _ENOUGH:
            rate = self._rows.rate_of(packet, ticks, now_s)
            own_number = self._payload_type
            known, advice, is_same = self._own.other(packet, own_number, ticks, rate, fits)
            # A stream may never have had the number that is configured; G.722 is anything.
            is_same &= self._last is None and self._own.codec.name != "g722"
            if is_same and number >= _ASSIGNED:
                return self._move_to(packet)
            static = STATIC_CODINGS.get(number)
            reading = None if static is None else (*static, number)
            self._tell("type", packet, reading, known, own_number=own_number, advice=advice)
        return False

    def _move_to(self, packet: RtpPacket) -> bool:
        self._tell("moved", packet, known=str(self._own), own_number=self._payload_type)
        self._payload_type, self._in_place = packet.payload_type, 0
        return True

    def note_without_audio(self, packet: RtpPacket) -> None:
        """Note a packet of the right type without a valid sample count."""
        if not packet.payload:
            return  # a keepalive (RFC 6263)
        if self._last is None or packet.ssrc == self._last[0].ssrc:
            self._try(packet, 0)
        self._without_audio += 1
        if self._without_audio == _ENOUGH:
            self._tell("size", packet)

    # ---- what is taken --------------------------------------------------------------------------

    def note_audio(self, packet: RtpPacket, samples: int, now_s: float) -> None:
        """Take in a packet of the stream that is played, of so many samples by the codec."""
        if not self._goes_on(packet, samples, now_s):
            self._compare(packet, samples, now_s)
            # From here on a packet that goes on like the one before tells nothing new.
            keeps_pace = self._keeps_pace or not self._own.sample_bytes
            is_known = self._own.codec.name not in _OF_ONE_SIZE or self._as_own >= _ENOUGH
            is_other = self._misread or self._others_in_row or self._unlike
            is_settled = self._has_fitted and is_known and keeps_pace and not is_other
            self._calm_from_s = now_s if is_settled and self._begun is not None else math.inf

    def _goes_on(self, packet: RtpPacket, samples: int, now_s: float) -> bool:
        """Return whether a packet is as expected after the last one, and all is as configured."""
        if self._last is None or self._begun is None or self._tried is not self._last:
            return False
        last, last_samples = self._last
        if (
            not 0.0 <= now_s - self._calm_from_s <= _PAUSE_S
            or packet.sequence != last.sequence + 1
            or not packet.timestamp - last.timestamp == samples == last_samples
            or packet.ssrc != last.ssrc
            or len(packet.payload) != len(last.payload)
            or packet.payload_type != last.payload_type
            or now_s - self._begun[0] >= _STRETCH_S
        ):
            return False
        self._last = self._tried = packet, samples
        self._rows.ticks_to(packet, now_s)
        self._calm_from_s = self._audio_s = now_s
        self._samples += samples
        return True

    def _compare(self, packet: RtpPacket, samples: int, now_s: float) -> None:
        self._try(packet, samples)
        self._rows.ticks_to(packet, now_s)
        before, paused = self._last, now_s - self._audio_s
        self._last, self._audio_s = self._tried, now_s
        if before is None or before[0].ssrc != packet.ssrc:
            self._begin_stretch(None, 0)
            self._unlike = 0
            return
        last, last_samples = before
        steps = (packet.sequence - last.sequence) % (1 << SEQUENCE_BITS)
        self._samples += last_samples * (steps if steps < _IN_A_ROW else 0)
        if steps != 1:
            return  # lost or reordered: the clock's time is compared on, that of packets is not
        ticks = (packet.timestamp - last.timestamp) % (1 << TIMESTAMP_BITS)
        if ticks >= 1 << (TIMESTAMP_BITS - 1) or paused > _PAUSE_S:
            self._begin_stretch(None, 0)
            return
        kept = self._pace(last.timestamp, now_s) if self._own.sample_bytes else None
        if kept is not None:
            self._keeps_pace = self._keeps_pace or kept
        found = self._own.found(last, ticks) if self._misread else None
        may_be_own = (
            self._keeps_pace is False if found is None else found[0] == self._own.codec.name
        )
        if not self._misread or may_be_own:
            self._compare_size(last, last_samples, ticks, now_s)
        elif found is not None and self._begun is not None and now_s >= self._begun[0] + _SIZE_S:
            self._tell_size(last, ticks, now_s)
        self._compare_rate(packet, now_s)

    def _try(self, packet: RtpPacket, samples: int) -> None:
        """Try packets of other lengths than their stamps say as other codings.

        What a stream begins with would be kept as its background: there one is enough.
        """
        before, self._tried = self._tried, (packet, samples)
        if before is None or before[0].ssrc != packet.ssrc:
            self._has_fitted, self._keeps_pace = False, None
            self._misread = self._others_in_row = self._as_own = 0
            return
        last, last_samples = before
        steps = (packet.sequence - last.sequence) % (1 << SEQUENCE_BITS)
        passed = (packet.timestamp - last.timestamp) % (1 << TIMESTAMP_BITS)
        ticks, rest = divmod(passed, max(1, steps))
        if rest or not 0 < steps < _IN_A_ROW:
            return
        fits, own = last_samples == ticks, (self._own.codec.name, self._own.codec.channels)
        self._has_fitted |= fits
        is_known = own[0] not in _OF_ONE_SIZE or self._as_own >= _ENOUGH
        is_sure = is_known if fits else self._keeps_pace is True
        is_opus = not fits and self._own.may_be_opus(last.payload, ticks)
        found = None if is_sure and not is_opus else self._own.found(last, ticks)
        self._as_own += found == own
        if found is not None and found[0] == "opus":
            is_other = packet.payload[:1] == last.payload[:1]
        else:
            # Other channels may be stamps that count them all: the clock tells, until then silence.
            is_other = not is_sure and found not in (None, own)
            is_other |= not fits and self._keeps_pace is False
        self._others_in_row = self._others_in_row + 1 if is_other else 0
        may_begin = not (self._has_fitted and is_known) and not self._keeps_pace
        if self._others_in_row >= (1 if may_begin else _OTHERS):
            self._misread = _MISREAD
        elif self._own.sample_bytes and is_sure and found is None:
            self._misread = 0
        elif is_known or not fits:
            self._misread = max(0, self._misread - 1)

    def _begin_stretch(self, now_s: float | None, timestamp: int) -> None:
        self._begun = None if now_s is None else (now_s, timestamp)
        self._samples = 0

    def _pace(self, timestamp: int, now_s: float) -> bool | None:
        """Return whether the samples keep the pace, or else the stamps; None: too early to say."""
        if self._begun is None or now_s - self._begun[0] < _SIZE_S:
            return None
        lasted_s = now_s - self._begun[0]
        ticks = (timestamp - self._begun[1]) % (1 << TIMESTAMP_BITS)
        rate = self._own.codec.sample_rate
        near = [abs(count / lasted_s - rate) <= _PACE_TOLERANCE * rate
                for count in (self._samples, ticks)]  # fmt: skip
        is_sure = near[0] != near[1] or lasted_s > _STRETCH_S - _SIZE_S
        return near[0] if is_sure else None

    def _compare_size(self, packet: RtpPacket, samples: int, ticks: int, now_s: float) -> None:
        if ticks == samples or ticks == 0 or not self._own.is_unlike(packet, samples, ticks):
            self._unlike = 0
            return
        channels = len(packet.payload) / (ticks * max(1, self._own.sample_bytes))
        if channels != self._unlike_channels:
            self._unlike = 0
            self._unlike_channels = channels
        self._unlike += 1
        keeps_pace = self._pace(packet.timestamp, now_s)
        if self._unlike >= _IN_A_ROW and keeps_pace is not None:
            if keeps_pace:  # no option mends the stamps, and none is needed
                is_opus = self._own.codec.name == "opus"
                count = "at 48000 Hz" if is_opus else "samples of one channel"
                self._tell("stamps", packet, ticks=ticks, samples=samples, count=count)
            else:
                self._tell_size(packet, ticks, now_s)

    def _tell_size(self, packet: RtpPacket, ticks: int, now_s: float) -> None:
        found, rate = self._own.found(packet, ticks), self._rows.rate_of(packet, ticks, now_s)
        if found is None and is_blank(packet.payload):
            return  # one that follows may say what they are
        options = [] if found is None else self._own.options(found, rate)
        advice = f"give {' '.join(options)}" if options else "see --codec and --channels"
        reading = None if found is None else (found[0], rate, found[1], packet.payload_type)
        samples = ticks // self._own.samples_per_tick
        self._tell("channels", packet, reading, samples=samples, advice=advice)

    def _compare_rate(self, packet: RtpPacket, now_s: float) -> None:
        if self._begun is None:
            self._begin_stretch(now_s, packet.timestamp)
            self._rate_before = 0
            return
        begin_s, begin = self._begun
        lasted_s = now_s - begin_s
        if lasted_s < _STRETCH_S:
            return
        ticks, samples = (packet.timestamp - begin) % (1 << TIMESTAMP_BITS), self._samples
        self._begin_stretch(now_s, packet.timestamp)
        if abs(ticks - samples) > _PACE_TOLERANCE * samples:
            return  # of packets that are not as configured: another rate alone would not help
        measured = ticks / lasted_s
        usual = min(_USUAL_RATES, key=lambda rate: abs(rate - measured))
        if abs(measured - usual) > _RATE_TOLERANCE * usual or usual == self._own.codec.sample_rate:
            usual = 0
        agree = usual == self._rate_before
        self._rate_before = usual
        if usual and agree:
            is_opus = self._own.codec.name == "opus"
            advice = "see --codec and --channels" if is_opus else f"give --sample-rate {usual}"
            own_rate = self._own.codec.sample_rate
            self._tell("rate", packet, rate=usual, own_rate=own_rate, advice=advice)

    def _tell(
        self,
        sign: str,
        packet: RtpPacket,
        reading: Reading | None = None,
        known: str = "",
        **values: int | str,
    ) -> None:
        """Add a mismatch, once for each sign, and each other payload type."""
        number, size = packet.payload_type, len(packet.payload)
        is_of_type = sign in ("type", "moved")
        cause = (sign, number if is_of_type else -1)
        if cause in self._told or len(self.found) >= _MOST:
            return
        self._told.add(cause)
        comes, expected, advice = (
            text.format(own=self._own, number=number, size=size, **values) for text in _SIGNS[sign]
        )
        particulars = [known] if known else []
        particulars += [] if is_of_type else [f"payload type {number}"]
        particulars += [] if sign == "size" else [f"packets of {size} bytes"]
        particulars.append(f"SSRC {packet.ssrc:08x}")
        told = f"{comes} ({', '.join(particulars)})", expected, advice, reading
        self.found.append(Mismatch(number, packet.ssrc, size, *told))


def _is_event(packet: RtpPacket) -> bool:
    return packet.payload_type >= _DYNAMIC and len(packet.payload) == _EVENT_BYTES


def _is_comfort(packet: RtpPacket) -> bool:
    is_dynamic = packet.payload_type >= _DYNAMIC and len(packet.payload) <= _NOISE_BYTES_MAX
    return packet.payload_type == COMFORT_NOISE or is_dynamic


def _described(name: str, sample_rate: int, channels: int) -> str:
    return f"{name}, {sample_rate} Hz, {channels} channel{'s' if channels > 1 else ''}"


Note = Callable[..., None]
"""Takes an event: its name, then particulars by name."""


def in_words(_event: str, *, says: str = "", **_particulars: Any) -> None:
    """Pass an event's words, if any, to the listener of notices."""
    if says:
        notice.tell(says)


class Told:
    """Mismatches of a stream already reported, and their senders."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._sources: list[tuple[str, int]] = []
        self._told = 0
        self._ssrc: int | None = None
        self._changes: list[tuple[int, int, tuple[str, int]]] = []
        self._changes_told = 0

    def note_source(self, source: tuple[str, int], ssrc: int | None = None) -> None:
        """Take in who sent the last packet, and which SSRC is played."""
        if ssrc != self._ssrc:
            if self._ssrc is not None and ssrc is not None and len(self._changes) < _MOST:
                self._changes.append((self._ssrc, ssrc, source))
            self._ssrc = ssrc
        while len(self._sources) < len(self._inspection.found):
            self._sources.append(source)

    def tell(self, where: str, note: Note) -> None:
        """Report new mismatches, as the event ``mismatch``."""
        while self._told < len(self._sources):
            mismatch, source = self._inspection.found[self._told], self._sources[self._told]
            self._told += 1
            sender = f"{in_url(source[0])}:{source[1]}"
            says = mismatch.line(where, sender)
            note("mismatch", stream=where, source=sender, says=says, **mismatch.particulars())
        while self._changes_told < len(self._changes):
            before, ssrc, source = self._changes[self._changes_told]
            self._changes_told += 1
            sender = f"{in_url(source[0])}:{source[1]}"
            says = f"{where} plays SSRC {ssrc:08x} from {sender} now, not {before:08x} any more"
            note("source", stream=where, source=sender, says=says, ssrc=ssrc)
