"""The way of training small networks that the trainer is measured against, and the arithmetic that either has to do.

Axes: N images, C channels, T tokens, D numbers of a token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightwalk import evaluate, steps
from weightwalk.spec import NetworkSpec, Scheduled
from weightwalk.steps import Attention, Layer, Norm
from weightwalk.weights import Weights
from weightwalk.zoos.trained.trainer import Training

_OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "adamw": torch.optim.AdamW,
}


class Eager(nn.Module):
    """One network of the three zoos as people write it: `torch.nn.functional` on (N, C, H, W), or on tokens (N, T, D).

    x: (N, C, H, W) -> (N, classes). `params` (P,) are copied.
    """

    def __init__(self, spec: NetworkSpec, params: Tensor):
        super().__init__()
        self.spec = spec
        network = Weights(spec, params[None].clone())
        self.weights = nn.ParameterList(
            nn.Parameter(weight[0], requires_grad=not getattr(layer, "fixed", False))
            for layer, weight in zip(spec.layers, network.weights, strict=True)
        )
        self.biases = nn.ParameterList(None if bias is None else nn.Parameter(bias[0]) for bias in network.biases)

    def forward(self, x: Tensor) -> Tensor:
        return self.spec.walk(x, self._value)

    def _value(self, at: Scheduled, read: list[Tensor]) -> Tensor:
        x, step = read[0], at.step
        channels = 1 if x.dim() == 4 else -1
        w: Any = None if at.layer is None else self.weights[at.layer]
        b = None if at.layer is None else self.biases[at.layer]
        y = x
        match step:
            case steps.Conv():
                y = F.conv2d(x, w.unflatten(2, step.kernel), b, step.per_axis("stride"), step.per_axis("padding"))
            case steps.Dense():
                y = F.linear(x, w, b)
            case steps.Norm():
                y = F.layer_norm(x, w.shape, w, b, step.eps)
            case steps.Learned():
                y = w.reshape(step.fan_out, -1).T
            case steps.Patches(size=(height, width)):
                cut = x.unflatten(3, [-1, width]).unflatten(2, [-1, height])  # (N, C, rows, h, columns, w)
                y = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
            case steps.Attention():
                q, k, v = (value.unflatten(2, [step.heads, -1]).transpose(1, 2) for value in read)
                y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            case steps.MeanPool():
                y = x.mean(dim=(2, 3)) if x.dim() == 4 else x.mean(dim=1)
            case steps.Add():
                y = read[0] + read[1]
            case steps.Slice():
                y = x.narrow(channels, step.start, step.fan_out)
            case steps.Pad():
                y = F.pad(x, (0, 0, 0, 0, 0, step.fan_out - step.fan_in))
        if isinstance(step, Layer | steps.Activate):
            y = evaluate.activate(step.activation, step.omega, y, step.slope)
        return y

    def epoch(self, images: Tensor, labels: Tensor, order: Tensor, training: Training) -> tuple[float, float]:
        """Mini-batches by index, in eager PyTorch, with torch's optimiser. Gives mean loss and accuracy."""
        optimizer = _OPTIMIZERS[training.optimizer](
            self.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        total = right = torch.zeros(())
        for rows in order.split(training.batch_size):
            optimizer.zero_grad()
            outputs = self(images[rows])
            loss = F.cross_entropy(outputs, labels[rows])
            loss.backward()
            optimizer.step()
            total = total + loss.detach() * len(rows)
            right = right + (outputs.detach().argmax(dim=1) == labels[rows]).sum()
        return float(total) / len(order), float(right) / len(order)

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor, batch: int = 512) -> tuple[float, float]:
        """Mean loss and accuracy."""
        loss = right = torch.zeros(())
        for x, y in zip(images.split(batch), labels.split(batch), strict=True):
            outputs = self(x)
            loss = loss + F.cross_entropy(outputs, y, reduction="sum")
            right = right + (outputs.argmax(dim=1) == y).sum()
        return float(loss) / len(images), float(right) / len(images)


def image_flops(spec: NetworkSpec, shape: Sequence[int]) -> int:
    """Floating-point operations of products per image (C, H, W) and epoch, were every sum done as it is written.

    Forward, and as many again for the gradient of the weights and for that of the values, which the network's own input
    does not need.
    """
    positions: dict[int, int] = {}

    def note(value: int, x: Tensor) -> Tensor:
        positions[value] = math.prod(x.shape[3:])
        return x

    weights = Weights(spec, torch.zeros(1, spec.num_parameters))
    evaluate.run(spec, weights.weights, weights.biases, torch.zeros(1, *shape), note)
    products = 0
    for at in spec.schedule:
        if isinstance(at.step, Attention):
            products += 3 * (at.step.fan_in + at.step.values) * positions[at.value] ** 2
        elif isinstance(at.step, Layer) and not isinstance(at.step, Norm) and at.step.kind in ("dense", "conv"):
            times = 2 if at.sources == (0,) else 3
            products += times * math.prod(at.step.weight_shape) * positions[at.value]
    return 2 * products
