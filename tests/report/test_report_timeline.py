"""The drawing of a dynamic graph, for every kind of network."""

import io

import pytest
from PIL import Image

from weightwalk import NetworkSpec
from weightwalk.graphs.dynamic import DynamicGraph
from weightwalk.report.cost import multiply_adds
from weightwalk.report.timeline import timeline
from weightwalk.testing import tiny_specs


@pytest.mark.parametrize("name", tiny_specs())
def test_every_kind_of_network_can_be_drawn(name):
    graph = DynamicGraph.of(tiny_specs()[name])
    image = Image.open(io.BytesIO(timeline(graph, multiply_adds(graph))))
    assert image.format == "PNG"


def test_longer_networks_are_taller_up_to_a_limit():
    sizes = []
    for depth in (3, 130, 140):
        graph = DynamicGraph.of(NetworkSpec.mlp([2] * (depth + 1)))
        sizes.append(Image.open(io.BytesIO(timeline(graph, multiply_adds(graph)))).height)
    assert sizes[0] < sizes[1] == sizes[2]
