"""Encoders: networks that read networks. One per file, registered by name."""

from weightwalk.encoders.base import Encoder, Encoding, build, encoders
from weightwalk.encoders.dng import DNGEncoder

__all__ = ["DNGEncoder", "Encoder", "Encoding", "build", "encoders"]
