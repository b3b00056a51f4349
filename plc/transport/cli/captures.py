"""Network captures among the sources of the commands on files."""

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from plc.cli.errors import REFUSED
from plc.cli.output import print_json, say
from plc.errors import ConfigError
from plc.files.cli.batch import progress_bar
from plc.notice import counted
from plc.transport.cli.options import DescribedOptions, ReceiverOptions, key_of
from plc.transport.cli.rtp import as_described, print_relay

if TYPE_CHECKING:
    from plc.transport.captured import Played

_SUFFIXES = (".pcap", ".pcapng", ".cap")
# First bytes of pcap, in both orders of bytes and units of time, and of pcapng.
_MAGICS = set(map(bytes.fromhex, ["d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d", "0a0d0d0a"]))
# How a stream is played that nobody listens to meanwhile.
OFFLINE: dict[str, Any] = {"prepare": "never", "packets_per_s": 1e9}


def is_capture(path: Path | str) -> bool:
    """Return whether a file is a network capture, by its first bytes or its name."""
    path = Path(path)
    if path.is_file():
        with suppress(OSError), path.open("rb") as file:
            if file.read(4) in _MAGICS:
                return True
    return path.suffix.lower() in _SUFFIXES and not path.is_dir()


def among(sources: Iterable[Path | str], *options: object) -> bool:
    """Return whether a capture is among the files; refuse its options without one."""
    found = any(map(is_capture, sources))
    if not found and any(each != type(each)() for each in options):
        raise typer.BadParameter(
            "options of RTP, its coding, key, delay and --align are for network captures"
        )
    return found


def play_capture(
    path: Path,
    target: str | Path,
    options: DescribedOptions,
    received: ReceiverOptions,
    *,
    seed: int = 0,
    align: bool = False,
    conceals: bool = True,
    overwrite: bool = False,
) -> "tuple[list[Played], dict[str, Any]]":
    """Play the streams of a capture into files, whole, or as heard with a delay that is given.

    Several streams get files with their SSRCs in the names; a folder takes the capture's name. With
    ``align`` files begin together; without ``conceals`` what is lost is silent.

    Returns
    -------
    played : list of Played, the streams that were played
    report : dict
        What was counted: ``streams``, ``refused`` (why, by name), ``left_out``.

    Raises
    ------
    PlcError
        If there is no stream in it that can be played, or a file cannot be written.
    """
    from plc.files.jobs import is_folder, make_folders
    from plc.files.writing import check_target
    from plc.transport.captured import Capture, media_of, named, play
    from plc.transport.relay.relayed import RelayConfig
    from plc.transport.rtp.sdp import read_sdp
    from plc.transport.rtp.udp import Endpoint
    from plc.transport.service.recorder import RecordingFile

    key = key_of(options.key_file)
    described = [] if options.sdp is None else read_sdp(options.sdp)
    with progress_bar(f"reading {path.name}") as progress:
        capture = Capture(path, progress)
    described += capture.described
    receivers, refused = {}, {}
    for heard in capture.streams:
        try:
            media = media_of(heard, described, options.given, key)
            receiver = as_described(received, media).config(seed, budget_ms=math.inf)
            receivers[heard] = replace(receiver, more_payload_types=media.beside, key=media.key)
        except ConfigError as error:
            refused[heard.name] = str(error)
            say(f"plc: {heard.name}, {counted(heard.packets, 'packet')}: {error}", err=True)
    left_out = dict(sorted((+capture.left_out).items()))
    if not receivers:
        raise ConfigError(f"{path} holds no RTP that can be played{_in_words(left_out)}")
    if is_folder(target):
        target = Path(target, path.with_suffix(".wav").name)
        make_folders([target])
    configs = {}
    places = named(Path(target), list(receivers))
    for (heard, receiver), place in zip(receivers.items(), places, strict=True):
        check_target(place, path, overwrite)
        stream = receiver.stream
        coding = f"{receiver.codec}/{stream.sample_rate}/{stream.channels}"
        to, name = RecordingFile(place), f"{heard.name}, {coding}"
        configs[heard] = RelayConfig(listen=Endpoint(*heard.target), to=to, align=align,
                                     receiver=receiver, name=name)  # fmt: skip
    with progress_bar(f"playing {path.name}") as progress:
        played = play(capture, configs, as_heard=received.delay_is_given, conceals=conceals,
                      overwrite=overwrite, progress=progress)  # fmt: skip
    streams = [each.report() for each in played]
    return played, {"streams": streams, "refused": refused, "left_out": left_out}


def _in_words(left_out: dict[str, int]) -> str:
    found = [f"{count} {what}" for what, count in left_out.items()]
    return f"; left out: {', '.join(found)}" if found else ""


def tell(played: "list[Played]", report: dict[str, Any], as_json: bool) -> None:
    """Print the counters of streams as a relay does; fail if there is nothing to hear."""
    if as_json:
        print_json(report)
    else:
        print_relay(report["streams"])
        say(f"{counted(len(played), 'stream')}{_in_words(report['left_out'])}")
    if not any(each.samples for each in played):
        raise typer.Exit(REFUSED)
