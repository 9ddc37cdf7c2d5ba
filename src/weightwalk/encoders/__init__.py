"""Encoders: networks that read networks. One per file, registered by name."""

from weightwalk.encoders.base import Encoder, EncoderConfig, Encoding, encoders
from weightwalk.encoders.dng import DNGEncoder
from weightwalk.encoders.flat import FlatEncoder
from weightwalk.encoders.nfn import NFNEncoder
from weightwalk.encoders.ng_gnn import NGGNNEncoder
from weightwalk.encoders.ng_t import NGTEncoder
from weightwalk.encoders.query import QueryEncoder
from weightwalk.encoders.statnn import StatNNEncoder

__all__ = [
    "DNGEncoder",
    "Encoder",
    "EncoderConfig",
    "Encoding",
    "FlatEncoder",
    "NFNEncoder",
    "NGGNNEncoder",
    "NGTEncoder",
    "QueryEncoder",
    "StatNNEncoder",
    "encoders",
]
