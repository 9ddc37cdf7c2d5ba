"""Published tables, made again: `weightwalk reproduce TABLE`, with the published cells beside ours."""

from weightwalk.reproduce import cells, efficiency
from weightwalk.reproduce.registry import TABLES, Part, Reproduction, Request

__all__ = ["TABLES", "Part", "Reproduction", "Request", "cells", "efficiency"]
