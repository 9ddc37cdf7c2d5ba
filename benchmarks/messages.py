"""The DNG-Encoder's message sum in pieces against the same in one piece: forward and backward, side by side, one
thread.

python benchmarks/messages.py [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from weightwalk.encoders.film import messages, plain_messages
from weightwalk.graphs.features import FourierFeatures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = []
    for frequencies, dim in ((32, 128), (128, 128), (128, 512)):
        features, edge = FourierFeatures(frequencies, 3.0), nn.Linear(2 * frequencies, dim)
        weights, sources = 0.02 * torch.randn(64, 32, 32), torch.randn(64, 32, dim, requires_grad=True)

        def seconds(
            function: Callable[..., Tensor],
            w: Tensor = weights,
            f: FourierFeatures = features,
            e: nn.Linear = edge,
            s: Tensor = sources,
        ) -> float:
            start = time.process_time()
            function(w, f, e, s).sum().backward()
            return time.process_time() - start

        seconds(messages), seconds(plain_messages)
        pairs = [(seconds(plain_messages), seconds(messages)) for _ in range(5)]
        found.append(
            {
                "networks": 64,
                "nodes": "32 -> 32",
                "frequencies": frequencies,
                "dim": dim,
                "plain_ms": round(1e3 * statistics.median(plain for plain, _ in pairs), 1),
                "pieces_ms": round(1e3 * statistics.median(pieces for _, pieces in pairs), 1),
                "ratio": round(statistics.median(plain / pieces for plain, pieces in pairs), 2),
            }
        )
    print(json.dumps(found) if arguments.json else "\n".join(map(str, found)))


if __name__ == "__main__":
    main()
