"""What is measured is the network that is named, and the exponent that of the points."""

from dataclasses import replace

import pytest

from weightwalk.bench.scale import Figures, ScaleBench, exponent
from weightwalk.networks.architectures import gpt2, resnet18

POINT = Figures("resnet18", 1, 10, 10, 1.0, 1.0, 10.0, 0.1, None)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_a_power(power):
    points = [replace(POINT, edges=edges, cpu_seconds=3 * edges**power) for edges in (10, 100, 5000)]
    assert exponent(points) == pytest.approx(power)


def test_networks_are_read_and_measured():
    bench = ScaleBench(resnet18=(2, 3), gpt2=(12, 24), dim=2, num_frequencies=1, head_dim=1)
    found = bench.measure()
    names = [(each["architecture"], each["width"]) for each in found.values["networks"]]
    assert names == [("resnet18", 2), ("resnet18", 3), ("gpt2", 12), ("gpt2", 24)]
    assert [each["parameters"] for each in found.values["networks"]] == [
        *(resnet18(width).num_parameters for width in bench.resnet18),
        *(gpt2(width).num_parameters for width in bench.gpt2),
    ]
    assert all(each["seconds"] > 0 and each["edges"] > each["parameters"] / 2 for each in found.values["networks"])
    assert set(found.values["exponents"]) == {"resnet18", "gpt2"}
    assert len(found.rows) == 4


def test_the_large_architectures_are_those_that_are_published():
    assert resnet18().num_parameters == 11_689_512
    assert gpt2().num_parameters == 124_439_808
