"""Encoders: networks that read networks. One per file, registered by name."""

from weightwalk.encoders.base import Encoder, EncoderConfig, Encoding, encoders
from weightwalk.encoders.dng import DNGEncoder

__all__ = ["DNGEncoder", "Encoder", "EncoderConfig", "Encoding", "encoders"]
