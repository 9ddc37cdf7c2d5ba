"""Tables as text, and the committed tables of results: every number with the conditions it was measured under."""

from __future__ import annotations

import dataclasses
import fcntl
import io
import math
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from csv import Error as CSVError
from csv import reader, writer
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from weightwalk import files
from weightwalk.errors import InputError

_NUMBER = re.compile(r"[-+−]?\d+([.,]\d+)*(e[-+]?\d+)?( ?± ?[\d.,]+)?( ?%| [^\W\d]{1,7}( \d+ [^\W\d]{1,7})?)?")


def cells(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """Every value as a reader wants it: floats to four digits, booleans as yes and no, None as nothing."""
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise InputError(f"expected {len(header)} cells ({', '.join(header)}) in row {number}, got {len(row)}")
    return [[_cell(value) for value in row] for row in rows]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def numeric(rows: Sequence[Sequence[str]], num_columns: int) -> list[bool]:
    """Which columns hold numbers and nothing else: `94.7 %`, `0.3 ± 0.1` and `1 min 12 s` count."""
    columns = [[row[column] for row in rows if row[column]] for column in range(num_columns)]
    return [bool(column) and all(_NUMBER.fullmatch(cell) for cell in column) for column in columns]


def csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Comma-separated values as they are, floats to their last digit, None as nothing."""
    buffer = io.StringIO()
    lines = writer(buffer, lineterminator="\n")
    lines.writerow(header)
    lines.writerows(rows)
    return buffer.getvalue()


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of Markdown (GitHub's), its columns of numbers flush right."""
    shown = cells(header, rows)
    sides = ["---:" if right else "---" for right in numeric(shown, len(header))]
    lines = [list(header), sides, *([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in shown)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "±": r"$\pm$",
        "×": r"$\times$",
    },
}


def latex(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """A `table` of LaTeX with booktabs' rules, its columns of numbers flush right."""

    def line(values: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(letter, letter) for letter in value) for value in values) + r" \\"

    shown = cells(header, rows)
    sides = "".join("r" if right else "l" for right in numeric(shown, len(header)))
    lines = [r"\begin{table}", r"\centering", *([rf"\caption{{{line([caption])[:-3]}}}"] if caption else [])]
    lines += [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", line(header), r"\midrule", *map(line, shown)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


# ---- results


@dataclass(frozen=True)
class ResultRow:
    """One number of results/*.csv; `access` is "weights" when the input network is never evaluated, "query" when it is.

    `zoo` is the recipe that its networks were fitted by, `recipe` that of the method, each `name@fingerprint`. `value`
    is the mean over `seeds` and `std` their standard deviation, None for one seed.
    """

    task: str
    dataset: str
    zoo: str
    method: str
    access: str
    init: str
    fits: int
    metric: str
    value: float
    std: float | None
    seeds: tuple[int, ...]
    recipe: str
    commit: str
    hardware: str
    minutes: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(self.seeds))
        what = f"{self.task}, {self.dataset}, {self.method}"
        if self.access not in ("weights", "query"):
            raise InputError(
                "access must be 'weights' (the input network is never evaluated) or 'query' (it is), got "
                f"{self.access!r}; the row is {what}"
            )
        if not self.seeds or self.fits < 1:
            got = f"seeds {self.seeds} and {self.fits} fits"
            raise InputError(f"a result needs at least one seed and one fit, got {got}")
        for name in ("value", "minutes", "std"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise InputError(f"{name} of {what} must be a finite number, got {number}")


_key = attrgetter("task", "dataset", "zoo", "method", "access", "init", "fits", "metric", "recipe")
"""What a number is of: a new measurement of the same replaces the old."""

_COLUMNS = [field.name for field in dataclasses.fields(ResultRow)]
_PARSERS: dict[str, Callable[[str], Any]] = {
    **{"fits": int, "value": float, "std": lambda text: float(text) if text else None, "minutes": float},
    "seeds": lambda text: tuple(map(int, text.split())),
}


def append(path: Path, row: ResultRow) -> None:
    """Add `row` to a file of results, in place of the one with its key; processes that write at once take turns."""
    path = Path(path)
    with _turn(path.parent):
        rows = {_key(old): old for old in read(path)} if path.exists() else {}
        rows[_key(row)] = row
        values = [dataclasses.asdict(row) | {"seeds": " ".join(map(str, row.seeds))} for row in rows.values()]
        files.write_bytes(path, csv(_COLUMNS, [list(value.values()) for value in values]).encode())


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read(path: Path) -> list[ResultRow]:
    """The rows of a file of results; a wrong one is named by its line."""
    try:
        lines = [line for line in reader(io.StringIO(Path(path).read_text()), strict=True) if line]
    except FileNotFoundError:
        raise InputError(f"expected a file of results at {path}, found no such file; check the path") from None
    except (CSVError, UnicodeDecodeError) as error:
        message = f"expected a file of results at {path}, got one that is not CSV ({error}); restore it"
        raise InputError(message) from error
    if not lines or lines[0] != _COLUMNS:
        got = ",".join(lines[0]) if lines else "an empty file"
        raise InputError(f"expected the columns {','.join(_COLUMNS)} in {path}, got {got}")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        try:
            cells = zip(_COLUMNS, line, strict=True)
            rows.append(ResultRow(**{name: _PARSERS.get(name, str)(text) for name, text in cells}))
        except ValueError as error:
            raise InputError(f"row {number} of {path} is not a result: {error}") from error
    return rows


# ---- conditions


def hardware() -> str:
    """The machine in a few words, such as `2 x Intel Xeon (AVX-512), 23 GiB`: the cores that this process may use."""
    from weightwalk import devices  # torch, which every --help would wait for

    info = ""
    with suppress(OSError):
        info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    name = model[1] if model else platform.processor() or platform.machine()
    name = " ".join(re.sub(r"\((R|TM)\)|\bCPU\b|\bProcessor\b|@.*|\b\d+-Core\b", "", name).split())
    flags = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}
    vectors = next((f" ({known})" for flag, known in flags.items() if re.search(rf"\b{flag}\b", info)), "")
    memory = ""
    with suppress(ValueError, OSError, AttributeError):
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    return f"{devices.cores()} x {name or 'unknown processor'}{vectors}{memory}"


def commit(source: Path = Path(__file__).parents[1]) -> str:
    """The short hash of the commit that `source` (this package) is at, `+dirty` when files in it differ, or `unknown`.

    Only the source counts: a table of results that was just written does not make the next row dirty.
    """
    try:
        if not _git(source, "ls-files", "."):
            return "unknown"
        dirty = "+dirty" if _git(source, "status", "--porcelain", ".") else ""
        return _git(source, "rev-parse", "--short", "HEAD") + dirty
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    """Git's answer about `folder`, also inside a git hook, which would point it elsewhere."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()
