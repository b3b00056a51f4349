"""Commands on one recording, on many, and on the standard streams."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from plc.cli.errors import REFUSED, line_of
from plc.cli.options import Content, FileMethod, Loop, Model, PacketMs, Trace
from plc.cli.output import Quality, print_json, say
from plc.errors import AudioFileError, PlcError
from plc.notice import counted

if TYPE_CHECKING:
    from plc.files.audio import Progress
    from plc.files.fill.gaps import Stretch
    from plc.files.jobs import Pair
    from plc.files.recordings import InpaintReport
    from plc.files.streamed import ConcealReport

    Filled = ConcealReport | InpaintReport

STANDARD = "-"
_DEFAULT_SUFFIX = ".wav"


def named(value: str) -> str:
    """Return a name; raise BadParameter for an empty one."""
    if not value:
        raise typer.BadParameter("an empty name is not a file; name a file, a folder or -")
    return value


def _path(value: str) -> Path:
    return Path(named(value))


def suffix_of(value: str) -> str:
    """Return the suffix of a format given as ``flac`` or ``.flac``."""
    return f".{value.strip().removeprefix('.').lower()}"


def bitrate_of(value: str | int) -> int:
    """Return a bit rate given as ``192k`` or ``192000``, in bit/s."""
    text = str(value).strip().lower()
    number, factor = (text[:-1], 1000) if text.endswith("k") else (text, 1)
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise typer.BadParameter(f"{text} is not a bit rate; give 192k, or 192000")
    return int(number) * factor


Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="IN...", parser=_path, help="Audio files, films, folders, patterns; - is stdin."
    ),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="OUT",
        parser=named,
        help="To write: .wav, .flac, .ogg, .opus, .mp3, .m4a, .mp4, .mkv; a folder for several "
        "files, or DIR/ for one; - is stdout.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        parser=suffix_of,
        metavar="SUFFIX",
        help="Format in a folder or on stdout: wav, flac, m4a, …",
        show_default="the source's; wav on stdout",
    ),
]
Bitrate = Annotated[
    int | None,
    typer.Option(
        parser=bitrate_of,
        metavar="BIT/S",
        help="Bit rate of MP3, Opus and AAC: 192k.",
        show_default=False,
    ),
]
Page = Annotated[
    Path | None,
    typer.Option("--report", metavar="HTML", help="Write a page with the results, to listen to."),
]

Doubtful = Annotated[bool, typer.Option("--doubtful", help="Take doubtful places for damage, too.")]


class _Report(Protocol):
    def as_dict(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=_Report)
F = TypeVar("F", bound="Filled")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Options that state damaged places; a folder has a file for each recording."""

    gap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="START:STOP",
            help="A gap in seconds, or START-STOP in 1:02.5, 62500ms, 2756250smp; may be repeated.",
        ),
    ] = None
    gaps: Annotated[
        Path | None,
        typer.Option(
            help="Gaps, one a line, or Audacity labels; a folder or .zip for several files."
        ),
    ] = None
    mask: Annotated[
        Path | None,
        typer.Option(help="A .npy of bools, or an audio file that is not zero at missing samples."),
    ] = None
    trace: Trace = None
    loop: Loop = False
    packet_ms: PacketMs = 10.0
    doubtful: Doubtful = False

    def of(self, pair: "Pair") -> "list[Stretch]":
        """Return the gaps of a recording, in seconds."""
        from plc.engine.loss import TraceLosses
        from plc.engine.trace_files import read_trace
        from plc.files.audio import AudioReader, count_samples
        from plc.files.marks import parse_gap, read_gaps, read_mask
        from plc.files.scratch import scratch
        from plc.files.streamed import lost_gaps

        with AudioReader(pair.source) as reader:
            rate, samples, channels = reader.sample_rate, reader.samples, reader.channels
        found = [parse_gap(text, rate) for text in self.gap or ()]
        if self.gaps is not None:
            with scratch() as folder:
                found += read_gaps(_labels(self.gaps, pair, folder), rate, doubtful=self.doubtful)
        if self.mask is not None:
            mask = belonging(self.mask, pair, (".npy", pair.source.suffix, ".wav", ".flac"))
            length = count_samples(pair.source) if samples is None else samples
            holes = read_mask(mask, length, channels)
            found += [(start / rate, stop / rate, where) for start, stop, where in holes]
        if self.trace is not None:
            trace = belonging(self.trace, pair, (".trace",))
            losses = TraceLosses(read_trace(trace), self.loop, path=trace)
            found += lost_gaps(pair.source, losses, self.packet_ms)
        return found


@dataclass(frozen=True, kw_only=True)
class FillOptions:
    """Options that say how gaps are filled, by the names of the library's settings."""

    quality: Annotated[
        Quality,
        typer.Option(
            case_sensitive=False, help="Quality; best takes several times longer than good."
        ),
    ] = "good"
    method: FileMethod = "auto"
    model: Model = "auto"
    content: Content = "auto"


@dataclass
class Work:
    """Recordings that a command works on.

    Attributes
    ----------
    pairs : list of Pair, each recording and its result
    to_folder : bool
        Whether there may be several results, as in a folder.
    to_stdout : bool
        Whether the result is what stdout gets; what there is to say then goes to stderr.
    folder : Path
        Where the files of stdin and stdout lie, which nobody is told of.
    refusals : list of (str, str), what failed, and why
    """

    pairs: "list[Pair]"
    to_folder: bool
    to_stdout: bool
    folder: Path
    refusals: list[tuple[str, str]] = field(default_factory=list)

    def each(self, what: str, do: "Callable[[Pair, Progress], F]") -> "list[tuple[Pair, F]]":
        """Make the result of every recording; one that fails does not keep others from it."""
        from plc.files.jobs import make_folders

        if self.to_folder:
            make_folders(pair.target for pair in self.pairs)
        done = []
        for pair, report in self.looked_at(what, do):
            warn_of_clipping(report.clipped_samples, _told(pair.target, self.folder))
            done.append((pair, report))
        return done

    def looked_at(
        self, what: str, do: "Callable[[Pair, Progress], R]"
    ) -> "Iterator[tuple[Pair, R]]":
        """Yield the report on each recording; note one that fails."""
        for number, pair in enumerate(self.pairs, start=1):
            which = f"{number} of {len(self.pairs)}: {pair.name}" if self.to_folder else what
            try:
                with progress_bar(which) as progress:
                    report = do(pair, progress)
            except Exception as error:
                line = line_of(error)
                if not self.to_folder or line is None:
                    raise
                line = _told(line, self.folder)
                say(f"plc: {line}", err=True)
                self.refusals.append((_told(pair.source, self.folder), line))
                continue
            yield pair, report

    def vary(self, count: int) -> dict[Path, int]:
        """Turn every result into several, OUT-1, OUT-2, …; return their numbers from 0 on."""
        from plc.files.jobs import check_targets

        if count > 1:
            if self.to_stdout:
                raise AudioFileError("stdout takes one variant; name a file")
            self.pairs = [
                pair._replace(
                    target=pair.target.with_stem(f"{pair.target.stem}-{k}"),
                    name=str(Path(pair.name).with_stem(f"{Path(pair.name).stem}-{k}")),
                )
                for pair in self.pairs
                for k in range(1, count + 1)
            ]
            self.to_folder = True
            check_targets(self.pairs)
        return {pair.target: k % count for k, pair in enumerate(self.pairs)}

    def say(self, line: str) -> None:
        """Print a line of the result."""
        say(line, err=self.to_stdout)

    def finish(
        self,
        done: "Sequence[tuple[Pair, F]]",
        tell: "Callable[[F, Work, Pair], None]",
        *,
        as_json: bool,
        page: Path | None,
        overwrite: bool,
    ) -> None:
        """Print the results, and write the page; end with status 1 if one failed."""
        if as_json:
            self.print_json(done)
        else:
            for pair, report in done:
                tell(report, self, pair)
        if page is not None and done:
            self._show(done, page, overwrite)
            say(f"listen: {page}", err=as_json or self.to_stdout)
        self.end(len(done))

    def end(self, done: int) -> None:
        """End with 1 if a recording failed; say how many."""
        if self.refusals:
            files = counted(done + len(self.refusals), "file")
            say(f"plc: {len(self.refusals)} of {files} failed", err=True)
            raise typer.Exit(REFUSED)

    def print_json(self, done: "Sequence[tuple[Pair, _Report]]") -> None:
        """Print the reports as JSON: one, or of a folder a list."""
        if self.to_stdout:
            return
        if not self.to_folder:
            print_json(done[0][1].as_dict())
            return
        files = [
            {
                "source": _told(pair.source, self.folder),
                **({} if pair.target == pair.source else {"target": str(pair.target)}),
                **report.as_dict(),
            }
            for pair, report in done
        ]
        refused = [{"source": source, "error": line} for source, line in self.refusals]
        print_json({"files": files, "refused": refused})

    def _show(self, done: "Sequence[tuple[Pair, Filled]]", page: Path, overwrite: bool) -> None:
        from plc.files.pages import listening
        from plc.files.pages.repaired import page_of
        from plc.files.recordings import Repaired

        repaired = [
            Repaired(
                pair.name,
                pair.source,
                pair.target,
                report.sample_rate,
                report.gaps,
                holes=report.holes,
                long_gaps=report.long_gaps,
            )
            for pair, report in done
        ]
        text = page_of(repaired, self.refusals, done[0][1].verb)
        listening.write(page, text, overwrite)


@contextmanager
def recordings(
    sources: Sequence[Path], target: str | None, suffix: str | None = None
) -> Iterator[Work]:
    """Find the recordings; read stdin and write stdout through files.

    Without a target they are only looked at.
    """
    from plc.files.jobs import pairs
    from plc.files.scratch import scratch

    to_stdout = target == STANDARD
    with scratch() as folder:
        sources = [_stdin(folder) if str(s) == STANDARD else s for s in sources]
        if to_stdout:
            if sys.stdout.isatty():
                raise AudioFileError("stdout is a terminal; name a file, or redirect it")
            if len(sources) > 1 or sources[0].is_dir():
                raise AudioFileError("stdout takes one recording; name a folder for several")
            target = str(folder / f"stdout{suffix or _DEFAULT_SUFFIX}")
        refusals: list[tuple[str, str]] = []

        def refuse(path: Path, reason: str) -> None:
            name = _told(path, folder)
            say(f"plc: {name}: {reason}", err=True)
            refusals.append((name, reason))

        try:
            found, to_folder = pairs(sources, target, suffix, refuse)
            yield Work(found, to_folder, to_stdout, folder, refusals)
        except PlcError as error:
            raise type(error)(_told(error, folder)) from error
        if to_stdout and target is not None:
            with open(target, "rb") as file:
                shutil.copyfileobj(file, typer.get_binary_stream("stdout"))


def _told(what: object, folder: Path) -> str:
    """Return a text with stdin and stdout by their names alone."""
    return str(what).replace(f"{folder}{os.sep}", "")


def _stdin(folder: Path) -> Path:
    path = folder / "stdin"
    with path.open("wb") as file:
        shutil.copyfileobj(typer.get_binary_stream("stdin"), file)
    return path


def belonging(given: Path, pair: "Pair", suffixes: Sequence[str]) -> Path:
    """Return the file of places for a recording: the given one, or one of a folder.

    Raises
    ------
    AudioFileError
        If the folder has none of the recording's name.
    """
    if not given.is_dir():
        return given
    from plc.files.marks import names_beside

    names = [given / name for suffix in suffixes for name in names_beside(pair.name, suffix)]
    for path in names:
        if path.is_file():
            return path
    raise AudioFileError(f"{pair.source} needs {names[-1]}, which is not there")


def _labels(given: Path, pair: "Pair", folder: Path) -> Path:
    from plc.files.marks import label_of, zipped_labels

    labels = zipped_labels(given)
    if labels is None:
        return belonging(given, pair, (".txt",))
    name, _ = label_of(labels, pair.name)
    if not name:
        raise AudioFileError(f"{given} has no labels of {pair.name}")
    return labels.fetch(name, folder)


@contextmanager
def progress_bar(what: str) -> "Iterator[Progress]":
    """Show on stderr which share of a recording is done."""
    from plc.cli.progress import shown

    with shown(what, share=True) as meter:
        yield meter.reach


def warn_of_clipping(clipped_samples: int, target: str | Path) -> None:
    """Say that samples were changed to fit."""
    if clipped_samples:
        say(
            f"plc: warning: {counted(clipped_samples, 'sample')} beyond full scale clipped in "
            f"{target}; a float WAV source keeps them in a .wav target",
            err=True,
        )


def check_page(page: Path | None, overwrite: bool, sources: Sequence[Path]) -> None:
    """Refuse a page that cannot be written."""
    from plc.files.jobs import check_no_source
    from plc.files.pages import listening

    if page is not None:
        listening.check(page, overwrite)
        check_no_source(page, sources)


def beside(given: str, work: Work, suffix: str, overwrite: bool) -> dict[str, Path]:
    """Return the file to be made of each recording, by its name; raise if one cannot be written."""
    from plc.files import jobs
    from plc.files.marks import names_beside
    from plc.whole_files import check_new

    made = [pair._replace(target=Path(given)) for pair in work.pairs]
    to_folder = work.to_folder or jobs.is_folder(given)
    if to_folder:
        named = [pair.target / names_beside(pair.name, suffix)[0] for pair in made]
        made = [pair._replace(target=path) for pair, path in zip(made, named, strict=True)]
        jobs.check_targets(made)
    for pair in made:
        check_new(pair.target, overwrite)
        jobs.check_no_source(pair.target, [each.source for each in made])
    if to_folder:
        jobs.make_folders(pair.target for pair in made)
    return {pair.name: pair.target for pair in made}
