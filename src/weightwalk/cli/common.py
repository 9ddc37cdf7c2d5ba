"""What the commands share: their common options, and the terminal they answer on.

Answers go to stdout; progress, remarks and errors go to stderr. Exit codes: 0, 2 for what the user can mend, and
128 + the signal's number for a command that was asked to stop and kept its work.
"""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Annotated, Any, TypedDict

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from weightwalk import config, files, memory
from weightwalk.cli.progress import Bars, Lines
from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.report import tables
from weightwalk.report.words import shell

if TYPE_CHECKING:
    from weightwalk.zoos.kinds import Description
    from weightwalk.zoos.store import Zoo

Seed = Annotated[int, typer.Option(help="What everything random is drawn from.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, and one line for an answer.")]
Device = Annotated[str, typer.Option(help="auto (CUDA where there is one), cpu or cuda.")]
ZooArgument = Annotated[Path, typer.Argument(metavar="ZOO", help="The folder of a zoo.", show_default=False)]
Root = Annotated[
    Path | None, typer.Option(help="The folder of the data set's files; digits needs none. Nothing is downloaded.")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a trained run.", show_default=False)]
ZooOfRun = Annotated[
    Path | None, typer.Option("--zoo", help="The zoo; without it, the one that the run was trained on.")
]

_WIDTH_OF_FILES = 120


class Terminal:
    """Where one command shows its progress and gives its answer; made by `terminal`."""

    def __init__(self, as_json: bool, quiet: bool):
        self.as_json, self.quiet = as_json, quiet
        self._reporter = None if quiet else Bars(_console(sys.stderr)) if sys.stderr.isatty() else Lines(sys.stderr)
        self.progress: Progress = self._reporter or silent
        self._stop: int | None = None

    def close(self) -> None:
        """End the progress bars: whatever is printed comes below them."""
        if self._reporter is not None:
            self._reporter.close()

    def remark(self, text: str) -> None:
        """A line on stderr about what goes on."""
        if not self.quiet:
            self.close()
            _console(sys.stderr).print(Text(printable(text), style="bold"), soft_wrap=True)

    def answer(self, values: Mapping[str, Any], line: str, *blocks: RenderableType) -> None:
        """The result: `values` with --json, else `blocks` and the essential `line`; the line alone with --quiet."""
        self.close()
        console = _console(sys.stdout)
        if self.as_json:
            _print(files.to_json(values))
            return
        for block in () if self.quiet else blocks:
            console.print(block)
        console.print(Text(printable(line)), soft_wrap=True)

    def should_stop(self) -> bool:
        """Whether a signal has asked the command to end; for work that can be gone on with."""
        return self._stop is not None

    def stopped(self, values: Mapping[str, Any], line: str) -> typer.Exit:
        """To be raised when work was ended by a signal, to this process or another of its team: says what was kept."""
        self.close()
        if self.as_json:
            _print(files.to_json({"stopped": True, **values}))
        _print(printable(f"{line}; the same command goes on from there"), sys.stderr)
        return typer.Exit(128 + (self._stop or signal.SIGTERM))

    def refused(self, sentences: Sequence[str], answered: bool = True) -> typer.Exit:
        """To be raised when some of what was given could not be used, or (not `answered`) all of it: each sentence as
        an error, with exit code 2.
        """
        self.close()
        if self.as_json and not answered:
            _print(files.to_json({"error": "; ".join(sentences)}))
        for sentence in sentences:
            _print(printable(f"error: {sentence}"), sys.stderr)
        return typer.Exit(2)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM asks to stop at the next safe point; a second one ends the process at once."""

        def note(number: int, frame: FrameType | None) -> None:
            self._stop = number
            restore()
            if not self.quiet:
                os.write(2, b"\nstopping at the next safe point; once more to stop at once, without saving\n")

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            restore()


@contextmanager
def terminal(as_json: bool, quiet: bool) -> Iterator[Terminal]:
    """The terminal of a command; bad input, and files that cannot be used, become one sentence and exit code 2."""
    screen = Terminal(as_json, quiet)
    _limit_memory()
    try:
        with standard_output(), _unwinding():
            yield screen
    except InputError as error:
        raise _failed(screen, str(error)) from None
    except OSError as error:
        if error.filename is None:
            raise
        path = error.filename2 or error.filename  # of a file that cannot be renamed, what it was to become
        raise _failed(screen, f"cannot use {path}: {_reason(error)}; choose another path") from None
    except Exception as error:
        sentence = memory.told(error)
        if sentence is None:
            raise
        raise _failed(screen, sentence) from None
    finally:
        screen.close()


@contextmanager
def standard_output() -> Iterator[None]:
    """Answers are written when this ends. A reader that has closed the pipe, such as `head`, ends the command with 141;
    a full disk behind it is one sentence; one that only takes ASCII gets other letters escaped.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (none: it was closed before the command began)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        with suppress(OSError, ValueError):  # what is still to be written goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            raise SystemExit(128 + signal.SIGPIPE) from None
        print(f"error: cannot write to standard output: {_reason(error)}", file=sys.stderr)
        raise SystemExit(2) from None


@contextmanager
def _unwinding() -> Iterator[None]:
    """SIGTERM ends the command as an exception does, so that no scratch file stays."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown reason").lower()


def _limit_memory() -> None:
    """Let allocations beyond the memory of the machine or container fail, so that they are told in a sentence: the
    system would end the process. Not with CUDA, whose driver reserves more addresses than there is memory.
    """
    most = memory.total()
    if most is not None and not Path("/dev/nvidiactl").exists():
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limits = [limit for limit in (soft, hard, most) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))


def _failed(screen: Terminal, sentence: str) -> typer.Exit:
    return screen.refused([sentence], answered=False)


def _print(text: str, file: IO[str] | None = None) -> None:
    print(text, file=file or sys.stdout)


def printable(text: str) -> str:
    """A text that says something of files, with what would steer the terminal escaped, such as colours in a name."""
    return "".join(letter if letter.isprintable() or letter in "\n " else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "broken pipe")


def _console(file: IO[str]) -> Console:
    """Rich on `file`; wider than its guess of 80 where no terminal sets the width."""
    return _Console(file=file, highlight=False, width=None if file.isatty() else _WIDTH_OF_FILES)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> RenderableType:
    """Rows of anything under a title, numbers flush right; no cell is read as markup."""
    cells = tables.cells(header, rows)
    grid = Table(box=box.SIMPLE_HEAD)
    for name, right in zip(header, tables.numeric(cells, len(header)), strict=True):
        grid.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in cells:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    return Group(Text(printable(title), style="bold"), grid)


def facts(title: str, values: Mapping[str, object]) -> RenderableType:
    """Names and values under a title."""
    grid = Table(box=box.SIMPLE, show_header=False)
    for name, (value,) in zip(values, tables.cells([""], [[value] for value in values.values()]), strict=True):
        grid.add_row(Text(printable(name)), Text(printable(value), overflow="fold"))
    return Group(Text(printable(title), style="bold"), grid)


def zoo_blocks(found: Description, **more: object) -> list[RenderableType]:
    """What there is to say of a zoo, as blocks of an answer."""
    title = str(found.values["zoo"])
    return [facts(title, {**found.facts, **more}), *(table(*entries) for entries in found.tables)]


def check_sheet(sheet: Path, zoo: Zoo, suffix: str) -> None:
    """InputError for a file that --sheet must not write, and where the zoo's signals are drawn as other than .png."""
    if suffix != ".png":
        raise InputError(
            f"a sheet shows pictures, but {zoo.path} has signals of the shape {zoo.image_shape}; leave --sheet out"
        )
    files.output(sheet, ".png", option="--sheet")


def next_steps(*commands: str) -> RenderableType:
    """What to type next."""
    return Text(printable("next: " + "\n      ".join(commands) + "\n"), style="cyan")


def source_of(zoo: Path | None, recorded: str) -> Path:
    """Where the zoo of a run is: as the user says, or where it was."""
    if zoo is None and not Path(recorded).exists():
        raise InputError(
            f"expected the zoo of the run at {recorded}, found nothing; name the folder that it is in now with --zoo"
        )
    return zoo or Path(recorded)


FITTING, TRAINING = "fit the INRs", "train the networks"
# Hidden files are not the zoo's own, which holds nothing that differs from run to run.
_TIMES = {FITTING: ".fit.json", TRAINING: ".train.json"}


class _Took(TypedDict):
    seconds: float


def keep_time(zoo: Path, work: str, seconds: float) -> None:
    """Add the seconds of `FITTING` or `TRAINING` to those that the zoo has cost so far."""
    if seconds:
        files.write_json(zoo / _TIMES[work], {"seconds": times_of(zoo).get(work, 0.0) + seconds})


def remark_slow_fits(screen: Terminal, device: str) -> None:
    """Tell that fits are slow here, where they are for want of a compiler."""
    import torch

    from weightwalk.zoos.inr.engine import choose

    if choose("auto", torch.device(device)) == "eager":
        screen.remark("no C++ compiler works here, so fitting takes about 30 times as long; install g++")


def to_train(zoo: Path, reads: str) -> list[str]:
    """The commands that train on a zoo of a kind or data set, as far as there are recipes for two cores."""
    from weightwalk.recipes import RECIPES

    names = [name for name, make in RECIPES.items() if make().reads == reads and name.endswith("_small")]
    return [shell("train", name, "--zoo", zoo) for name in names]


def times_of(zoo: Path) -> dict[str, float]:
    """The seconds that making a zoo took, by the name of that work; empty where nobody kept them."""
    paths = {work: zoo / name for work, name in _TIMES.items()}
    return {
        work: config.typed(_Took, files.read_json(path, "the time that a zoo took"), str(path))["seconds"]
        for work, path in paths.items()
        if path.exists()
    }
