"""The ways of fitting INRs that the engine is measured against, and the arithmetic that any of them has to do.

Axes: B networks, G networks of a group, I fan-in, O fan-out, C channels, P pixels.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights

GROUP = 16  # networks of one batched product, where products are measured by themselves


class Siren(nn.Module):
    """One SIREN as a module: sin(omega (W x + b)) on every layer but the last. x: (P, I) -> (P, O)."""

    def __init__(self, network: Weights):
        super().__init__()
        layers = network.spec.layers
        self.omegas = [layer.omega for layer in layers[:-1]]
        self.layers = nn.ModuleList(nn.Linear(layer.fan_in, layer.fan_out) for layer in layers)
        self.load_state_dict(network.to_state_dict())

    def forward(self, x_PI: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer, omega in zip(hidden, self.omegas, strict=True):
            x_PI = torch.sin(omega * layer(x_PI))
        out: Tensor = last(x_PI)
        return out


def one_at_a_time(start: Weights, coordinates_PI: Tensor, targets_BCP: Tensor, steps: int, rate: float) -> Tensor:
    """The way the published zoos were made (NFN: Zhou et al. 2023, appendix): eager PyTorch, one SIREN after the other,
    `torch.optim.Adam` with its defaults, the whole picture in every step. Returns the final mean squared errors (B,).
    """
    errors = []
    for index, target_CP in enumerate(targets_BCP):
        model, target_PC = Siren(start[index]), target_CP.T.contiguous()
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        for _ in range(steps):
            optimizer.zero_grad()
            F.mse_loss(model(coordinates_PI), target_PC).backward()
            optimizer.step()
        with torch.no_grad():
            errors.append(F.mse_loss(model(coordinates_PI), target_PC))
    return torch.stack(errors)


def vmapped(start: Weights, coordinates_PI: Tensor, targets_BCP: Tensor, steps: int, rate: float) -> Tensor:
    """All networks at once through `torch.func.vmap(grad)`, eager; Adam on the stacked parameters. Returns the final
    errors (B,).
    """
    models = [Siren(start[index]) for index in range(len(start))]
    parameters, _ = stack_module_state(models)
    targets_BPC = targets_BCP.mT.contiguous()

    def loss(parameters: dict[str, Tensor], target_PC: Tensor) -> Tensor:
        return F.mse_loss(functional_call(models[0], parameters, (coordinates_PI,)), target_PC)

    gradients, optimizer = vmap(grad(loss)), torch.optim.Adam(parameters.values(), lr=rate)
    for _ in range(steps):
        for name, gradient in gradients(parameters, targets_BPC).items():
            parameters[name].grad = gradient
        optimizer.step()
    with torch.no_grad():
        errors: Tensor = vmap(loss)(parameters, targets_BPC)
    return errors


def step_flops(spec: NetworkSpec, pixels: int) -> int:
    """Floating-point operations of one step's matrix products for one network of dense layers.

    2 I O P forward per layer, as many for the gradient of its weights, and as many for that of its input, which the
    first layer does not need. Sines, biases and Adam are not counted.
    """
    products = [layer.fan_in * layer.fan_out for layer in spec.layers]
    return 2 * pixels * (3 * sum(products) - products[0])


def backward_share(spec: NetworkSpec, pixels: int) -> float:
    """How much of `step_flops` is in the backward products."""
    return 1 - 2 * pixels * sum(layer.fan_in * layer.fan_out for layer in spec.layers) / step_flops(spec, pixels)


def backward_products(spec: NetworkSpec, pixels: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Factors, of random numbers, of the batched products that a group's backward pass makes."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(GROUP, *shape, generator=generator).to(dtype)

    factors = []
    for number, layer in enumerate(spec.layers):
        delta_GOP, input_GIP = random(layer.fan_out, pixels), random(layer.fan_in, pixels)
        factors.append((delta_GOP, input_GIP.mT))
        if number:
            factors.append((random(layer.fan_out, layer.fan_in).mT, delta_GOP))
    return factors


def bfloat16_error(spec: NetworkSpec, pixels: int) -> float:
    """The relative error, root mean square, of `backward_products` in bfloat16."""
    exact, rounded = (
        torch.cat([torch.bmm(left, right).flatten().float() for left, right in backward_products(spec, pixels, dtype)])
        for dtype in (torch.float32, torch.bfloat16)
    )
    return float((rounded - exact).norm() / exact.norm())


def has_bfloat16() -> bool:
    """Whether Linux says that the processor multiplies bfloat16 (AVX512-BF16, AMX, or ARM's)."""
    with suppress(OSError):
        return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", Path("/proc/cpuinfo").read_text()) is not None
    return False
