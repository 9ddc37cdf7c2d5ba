"""Processor milliseconds per INR of INR2JLS's parts at the paper's sizes: reading, and forward and backward, of one
group of networks on one thread (the roofline in docs/performance.md).

python benchmarks/parts.py [--shape cifar10] [--networks 16]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from weightwalk.bench.sides import PAPER, SHAPES, Sides


def milliseconds(call: Callable[[], object], rounds: int = 9) -> float:
    """The least of several rounds, after one that is not counted."""
    call()
    found = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return 1e3 * min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="cifar10")
    parser.add_argument("--networks", type=int, default=16)
    options = parser.parse_args()
    sides = Sides.of(options.shape, PAPER, threads=1)
    model, networks = sides.model, sides.networks[: options.networks]
    with torch.no_grad():
        encodings, maps = model.encoder.encode(networks), model.encode(networks).flatten(0, 1)
    encodings, maps = encodings.requires_grad_(), maps.requires_grad_()
    parts: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {
        "encoder": (model.encoder, lambda: model.encoder.encode(networks)),
        "generator": (model.generator, lambda: model.generator(encodings)),
        "decoder": (model.decoder, lambda: model.decoder(maps)),
    }
    for name, (part, forward) in parts.items():

        def step(part: nn.Module = part, forward: Callable[[], Tensor] = forward) -> None:
            part.zero_grad()
            forward().square().mean().backward()

        with torch.no_grad():
            reading = milliseconds(forward)
        print(f"{name}: reading {reading / len(networks):.2f}, step {milliseconds(step) / len(networks):.2f}")


if __name__ == "__main__":
    main()
