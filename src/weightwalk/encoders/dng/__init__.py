"""The DNG-Encoder of Dynamic Neural Graphs (TMLR 2026): the walk (`encoder.py`), the maps of the steps (`maps.py`),
which step has which (`builder.py`), and in which details it may differ from the paper's equations (`details.py`).
"""

from weightwalk.encoders.dng.details import DETAILS, Details
from weightwalk.encoders.dng.encoder import DNGEncoder

__all__ = ["DETAILS", "DNGEncoder", "Details"]
