"""The ways of fitting INRs that the engine is measured against, and the arithmetic that any of them has to do.

Axes: B networks, I fan-in, O fan-out, C channels, P pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights


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
    """All networks at once through eager `torch.func.vmap(grad)`, Adam on the stack; gives the final errors (B,)."""
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
