"""INR2JLS's decoder and latent generator against the operations of torch that define them, side by side, one thread.

Sizes are the paper's, 6 views. Times are processor milliseconds per network, each the least of several rounds; ratios
are torch / ours.

python benchmarks/decoder.py [--json] [--rounds 10] [--networks 16]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from weightwalk.heads import by_hand
from weightwalk.heads.latents import ConvDecoder, LatentGenerator

SHAPES = {"mnist": (1, 7), "cifar": (3, 8)}  # channels, latent grid
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def problems(shape: str, networks: int) -> dict[str, tuple[nn.Module, Tensor]]:
    """Modules and what they read."""
    torch.manual_seed(0)
    channels, grid = SHAPES[shape]
    generator = LatentGenerator(6 * grid**2, 512, 1024, 1024, 128)
    latents = torch.randn(6 * networks, grid, grid, 128).permute(0, 3, 1, 2)
    return {
        "generator": (generator, torch.randn(networks, 1024)),
        "decoder": (ConvDecoder(128, 256, channels), latents),
    }


def once(module: nn.Module, x: Tensor) -> tuple[float, float]:
    """Processor milliseconds forward without gradients, and of forward and backward."""
    x = x.detach().requires_grad_()
    module.zero_grad()
    moments = [time.thread_time()]
    with torch.no_grad():
        signs = torch.ones_like(module(x))
    moments.append(time.thread_time())
    module(x).backward(signs)
    moments.append(time.thread_time())
    return 1e3 * (moments[1] - moments[0]), 1e3 * (moments[2] - moments[1])


def torchs(module: nn.Module, x: Tensor) -> tuple[float, float]:
    """The same by the operations of torch."""
    possible: Callable[..., bool] = by_hand.possible
    by_hand.possible = lambda *operands: False
    try:
        return once(module, x)
    finally:
        by_hand.possible = possible


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--networks", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for shape in SHAPES:
        for dtype in DTYPES:
            for part, (module, x) in problems(shape, options.networks).items():
                module, x = module.to(DTYPES[dtype]), x.to(DTYPES[dtype])
                rounds = [(torchs(module, x), once(module, x)) for _ in range(options.rounds + 1)][1:]
                plain, ours = (
                    [min(mode) / options.networks for mode in zip(*side, strict=True)]
                    for side in zip(*rounds, strict=True)
                )
                row: dict[str, object] = {"shape": shape, "dtype": dtype, "part": part, "networks": options.networks}
                for mode, before, after in zip(("forward", "step"), plain, ours, strict=True):
                    row |= {f"{mode}_torch_ms": round(before, 2), f"{mode}_ms": round(after, 2)}
                    row[f"{mode}_ratio"] = round(before / after, 2)
                print(json.dumps(row) if options.json else " ".join(f"{k} {v}" for k, v in row.items()), flush=True)


if __name__ == "__main__":
    main()
