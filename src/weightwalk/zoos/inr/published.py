"""What the published zoos look like from outside, to check a re-made one against."""

from __future__ import annotations

from dataclasses import dataclass

from weightwalk.spec import NetworkSpec


@dataclass(frozen=True)
class PublishedZoo:
    """Standard deviations of all weights and of all biases of a layer, over every network of a zoo."""

    name: str
    widths: tuple[int, ...]
    weight_stds: tuple[float, ...]
    bias_stds: tuple[float, ...]


# NFN: Zhou et al. 2023, Permutation Equivariant Neural Functionals. DWS: Navon et al. 2023, Equivariant Architectures
# for Learning in Deep Weight Spaces. The normalisation constants of the code of Neural Graphs (Kofinas et al. 2024),
# measured on these zoos.
PUBLISHED = (
    PublishedZoo("NFN MNIST", (2, 32, 32, 1), (0.2868, 0.0171, 0.0639), (0.4090, 0.1041, 0.0970)),
    PublishedZoo("DWS MNIST", (2, 32, 32, 1), (0.0628, 0.0183, 0.118), (0.0213, 0.0110, 0.0999)),
    PublishedZoo("DWS Fashion-MNIST", (2, 32, 32, 1), (0.0782, 0.0324, 0.1345), (0.0286, 0.0167, 0.0960)),
    PublishedZoo("NFN CIFAR-10", (2, 32, 32, 3), (0.2803, 0.0177, 0.0546), (0.4087, 0.1039, 0.0873)),
)


def comparable(spec: NetworkSpec) -> list[PublishedZoo]:
    """The published zoos of networks of this shape."""
    return [
        zoo for zoo in PUBLISHED if zoo.widths == spec.widths and all(layer.kind == "dense" for layer in spec.layers)
    ]
