"""Published tables, made again: `weightwalk reproduce TABLE`, with the published cells beside ours."""

from weightwalk.reproduce import efficiency
from weightwalk.reproduce.registry import TABLES, Part, Reproduction

__all__ = ["TABLES", "Part", "Reproduction", "efficiency"]
