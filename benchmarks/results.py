"""docs/results.md out of results/*.csv and docs/results_notes.md.

python benchmarks/results.py
"""

from __future__ import annotations

from pathlib import Path

from weightwalk import files
from weightwalk.reproduce import results

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
NOTES = ROOT / "docs" / "results_notes.md"


def made() -> str:
    """The page as it should be."""
    return results.page(results.read(ROOT / "results"), NOTES.read_text())


if __name__ == "__main__":
    files.write_bytes(PAGE, made().encode())
    print(PAGE)
