"""The command ``plc conceal``."""

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import typer

from plc.cli.options import (
    AsJson,
    Content,
    Lookahead,
    Loop,
    Method,
    Model,
    PacketMs,
    Seed,
    Trace,
    examples,
    packets_of,
    with_options,
)
from plc.cli.output import Overwrite
from plc.files.cli import batch
from plc.files.cli.lose import NOTHING_LOST, MaybeBurst, MaybeLoss, check_losses, losses_of
from plc.notice import counted
from plc.transport.cli.captures import OFFLINE, among, play_capture, tell
from plc.transport.cli.options import Align, CaptureOptions, DelayOptions, ReceiverOptions

if TYPE_CHECKING:
    from plc.files.audio import Progress
    from plc.files.jobs import Pair
    from plc.files.streamed import ConcealReport


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    lines = examples(
        "plc conceal damaged.wav good.wav --trace lost.trace",
        "plc conceal clean.flac heard.flac --loss 10% --burst 3 --packet-ms 20",
        "plc conceal clean.wav heard.wav --loss 5% --lookahead 1 --json",
        "plc conceal clean.wav heard.wav --loss 5% --model my/paper.json --lookahead 200ms",
        "plc conceal damaged/ good/ --trace traces/ --report report.html",
        "plc conceal call.pcap call.wav                  each RTP stream of a network capture",
        "plc conceal call.pcap heard.wav --safety normal                what its listener heard",
    )
    app.command(rich_help_panel="Files", epilog=lines)(conceal)


@with_options
def conceal(
    *,
    sources: batch.Sources,
    target: batch.Target,
    trace: Trace = None,
    loss: MaybeLoss = None,
    burst: MaybeBurst = None,
    loop: Loop = False,
    seed: Seed = 0,
    packet_ms: PacketMs = 10.0,
    lookahead: Lookahead = 0,
    method: Method = "auto",
    model: Model = "auto",
    content: Content = "auto",
    file_format: batch.Format = None,
    bitrate: batch.Bitrate = None,
    page: batch.Page = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    captured: CaptureOptions,
    delay: DelayOptions,
    align: Align = False,
) -> None:
    """Conceal lost packets of recordings, as a receiver would.

    With --trace the recording is damaged: samples of its lost packets are ignored.
    With --loss the recording is intact, and packets of it are lost first.
    For several recordings --trace may be a folder of NAME.trace.
    Of a network capture (pcap, pcapng) all that came is played, by the sender's clock.
    With --safety or a delay it is played as a receiver would, by its times of arrival.
    """
    from plc.files.streamed import conceal_file

    packets = packets_of(lookahead, packet_ms)
    if among(sources, captured, delay, align):
        others = trace, loss, burst, page, bitrate, file_format
        if len(sources) > 1 or any(others):
            raise typer.BadParameter(
                "a network capture goes alone, without --trace, --loss, --burst, --report, "
                "--bitrate and --format"
            )
        received = ReceiverOptions(
            **asdict(delay), packet_ms=packet_ms, lookahead=packets, method=method, model=model,
            content=content, **OFFLINE,
        )  # fmt: skip
        played, report = play_capture(
            sources[0], target, captured, received, seed=seed, align=align, overwrite=overwrite
        )
        tell(played, report, as_json)
        return
    check_losses(trace, loss, burst)
    with batch.recordings(sources, target, file_format) as work:
        batch.check_page(page, overwrite, [pair.source for pair in work.pairs])

        def conceal_one(pair: "Pair", progress: "Progress") -> "ConcealReport":
            given = None if trace is None else batch.belonging(trace, pair, (".trace",))
            return conceal_file(
                pair.source,
                pair.target,
                losses_of(given, loop, loss, burst, seed),
                packet_ms=packet_ms,
                lookahead=packets,
                method=cast(Any, method),
                model=model,
                content=content,
                seed=seed,
                overwrite=overwrite,
                bitrate=bitrate,
                progress=progress,
            )

        done = work.each("concealing", conceal_one)
        printed = partial(_print_conceal, trace is not None)
        work.finish(done, printed, as_json=as_json, page=page, overwrite=overwrite)


def _print_conceal(traced: bool, report: "ConcealReport", work: batch.Work, pair: "Pair") -> None:
    share = 100 * report.lost_packets / report.packets
    work.say(
        f"{f'{pair.name}: ' if work.to_folder else ''}concealed {report.lost_packets} of "
        f"{counted(report.packets, 'packet')} ({share:.1f} %), {report.duration_s:.2f} s of audio "
        f"in {report.elapsed_s:.2f} s ({report.real_time_factor:.0f} x real time)"
    )
    invalid = report.stats["invalid_packets"]
    if invalid:
        work.say(f"and {counted(invalid, 'packet')} with undecodable samples, NaN or infinity")
    if not report.lost_packets and not traced:
        work.say(NOTHING_LOST)
