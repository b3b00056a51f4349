"""Network captures among the sources of the commands on files."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
    from plc.files.detect.findings import Selection
    from plc.files.detect.recorded import DetectReport
    from plc.files.fill.signals import FillSettings
    from plc.transport.captured import Played

_SUFFIXES = (".pcap", ".pcapng", ".cap")
# First bytes of pcap, in both orders of bytes and units of time, and of pcapng.
_MAGICS = set(map(bytes.fromhex, ["d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d", "0a0d0d0a"]))
# How a stream is played that nobody listens to meanwhile.
OFFLINE: dict[str, Any] = {"prepare": "never", "packets_per_s": 1e9}
# Nobody waits for what is repaired: packets that come so late are none the worse.
_REPAIR_DELAY_MS = 1000.0


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
    """Play the streams of a capture into files.

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
        played = play(capture, configs, conceals=conceals, overwrite=overwrite, progress=progress)
    streams = [each.report() for each in played]
    return played, {"streams": streams, "refused": refused, "left_out": left_out}


def _in_words(left_out: dict[str, int]) -> str:
    found = [f"{count} {what}" for what, count in left_out.items()]
    return f"; left out: {', '.join(found)}" if found else ""


@contextmanager
def recordings_of(
    sources: Sequence[Path], options: DescribedOptions, name: str = ""
) -> Iterator[tuple[list[Path], dict[Path, list[tuple[int, int]]], Path]]:
    """Yield sources with captures as recordings, the losses of those, and their folder.

    ``name`` is that of a stream's recording; by default the capture's.
    """
    from plc.files.scratch import scratch

    received = ReceiverOptions(fixed_delay_ms=_REPAIR_DELAY_MS, max_delay_ms=_REPAIR_DELAY_MS,
                               method="burg", **OFFLINE)  # fmt: skip
    among(sources, options)
    with scratch() as folder:
        found: list[Path] = []
        lost: dict[Path, list[tuple[int, int]]] = {}
        for number, source in enumerate(sources):
            if not is_capture(source):
                found.append(source)
                continue
            within = folder / str(number) if lost else folder  # two may have one name
            within.mkdir(exist_ok=True)
            target = within / (name or source.with_suffix(".wav").name)
            for each in play_capture(source, target, options, received, conceals=False)[0]:
                if each.samples:
                    found.append(each.target)
                    lost[each.target] = each.lost
        yield found, lost, folder


def with_losses(
    report: "DetectReport", lost: list[tuple[int, int]], selection: "Selection"
) -> "DetectReport":
    """Return a report in which a stream's losses replace the findings at their places."""
    from plc.files.detect.findings import Finding

    losses = [Finding(*each, "lost", 1.0, tuple(range(report.channels))) for each in lost]
    starts = [start for start, _ in lost]
    apart = [
        each
        for each in report.findings
        if not (at := bisect_left(starts, each.stop)) or lost[at - 1][1] <= each.start
    ]
    asked = selection.of(losses, report.sample_rate)
    findings = tuple(sorted([*asked, *apart], key=lambda each: each.start))
    return replace(report, findings=findings, left_out=report.left_out + len(losses) - len(asked))


def repair_capture(
    source: Path,
    out: Path,
    options: DescribedOptions,
    settings: "FillSettings",
    selection: "Selection",
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the streams of a capture, their gaps filled from both sides."""
    from plc.files.batch.folders import Folder
    from plc.files.detect.recorded import detect_file
    from plc.files.jobs import make_folders
    from plc.files.recordings import inpaint_file
    from plc.files.writing import WRITABLE_SUFFIXES
    from plc.whole_files import check_new

    to_file = out.suffix.lower() in WRITABLE_SUFFIXES
    folder = out.parent if to_file else out
    with recordings_of([source], options, out.name if to_file else "") as (found, lost, _):
        made = [folder / path.name for path in found]
        for path in made:
            check_new(path, overwrite)
        make_folders(made)
        told = []
        for path, target in zip(found, made, strict=True):
            filled: dict[str, Any] = {"gaps": []}
            with progress_bar(f"repairing {target.name}") as progress:
                report = detect_file(path, selection=selection, progress=progress)
                if gaps_s := with_losses(report, lost[path], selection).gaps_s:
                    done = inpaint_file(path, target, gaps_s, settings=settings,
                                        overwrite=overwrite, progress=progress)  # fmt: skip
                    filled = done.as_dict()
                else:
                    Folder(str(folder)).store(path, path.name, overwrite)
            told.append({"target": str(target), **filled})
            if not as_json:
                gaps, rate = filled["gaps"], report.sample_rate
                filled_ms = 1000 * sum(stop - start for start, stop in gaps) / rate
                say(f"filled {counted(len(gaps), 'gap')}, {filled_ms:.1f} ms of {target}")
    if as_json:
        print_json({"streams": told})


def tell(played: "list[Played]", report: dict[str, Any], as_json: bool) -> None:
    """Print the counters of streams as a relay does; fail if there is nothing to hear."""
    if as_json:
        print_json(report)
    else:
        print_relay(report["streams"])
        say(f"{counted(len(played), 'stream')}{_in_words(report['left_out'])}")
    if not any(each.samples for each in played):
        raise typer.Exit(REFUSED)
