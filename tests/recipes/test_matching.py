"""Equal parameters are equal parameters, at every scale and under every encoder that the controls have."""

import pytest

from weightwalk import InputError, NetworkSpec
from weightwalk.recipes import RECIPES, matching
from weightwalk.recipes.tables import CELLS, SHAPES
from weightwalk.zoos.inr.recipe import FIT_RECIPES


@pytest.mark.parametrize("scale", ["tiny", "small", "full"])
def test_every_control_has_the_parameters_of_what_it_stands_beside(scale):
    found = {}
    for cell in CELLS["controls"](scale):
        if cell.column not in ("digits", "MNIST", "CIFAR-10"):
            continue
        config = cell.make()
        short = cell.recipe.split("_")[0]
        spec = FIT_RECIPES["nfn"].spec(2, SHAPES[short][0])
        count = matching.num_parameters(config.encoder, spec, config.pretext, SHAPES[short])
        found[cell.row, cell.column] = count
        base = found[cell.row.split(", ")[0], cell.column]
        assert abs(count - base) <= matching.TOLERANCE * base, cell
        if config.encoder.name != "dng":
            assert config.encoder.options["dropout"] == RECIPES[cell.recipe]().encoder.options["dropout"]
    assert len(found) == 13 * len({column for _, column in found})


def test_counts_are_those_of_the_module():
    config, spec = RECIPES["digits_inr2jls"](), NetworkSpec.mlp([2, 8, 1])
    model = config.pretext.build(config.encoder.build(spec), (1, 8, 8))
    real = sum(parameter.numel() for parameter in model.parameters())
    assert matching.num_parameters(config.encoder, spec, config.pretext, (1, 8, 8)) == real
    for parameters in (50_000, 100_000):
        width = matching.matched("ng_gnn", spec, parameters)
        encoder = type(config.encoder).named("ng_gnn", **width)
        count = sum(parameter.numel() for parameter in encoder.build(spec).parameters())
        assert abs(count - parameters) <= matching.TOLERANCE * parameters


def test_what_cannot_be_matched_is_refused():
    spec = NetworkSpec.mlp([2, 8, 1])
    with pytest.raises(
        InputError, match=r"expected a width of query with 230 parameters within 5 %, got [0-9]+ as the near"
    ):
        matching.matched("query", spec, 230)
    with pytest.raises(InputError, match="unknown encoder with a width 'flat'"):
        matching.matched("flat", spec, 1000)
