"""What the table of activations says is true of the functions, and what belongs to an activation is there."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import weightwalk
from weightwalk.evaluate import FUNCTIONS
from weightwalk.steps import ACTIVATIONS, FITTED, TRAINED
from weightwalk.steps.activations import ActivationFacts

POINTS = torch.linspace(-9.7, 9.9, 401, dtype=torch.float64)
SOURCE = Path(weightwalk.__file__).parent
TABLES = {"kernel.cpp": FITTED, "activations.h": TRAINED}


def found(name: str) -> dict[str, bool]:
    """Which laws a function keeps at POINTS, by trying."""
    a = FUNCTIONS[name]
    value = a(POINTS)

    def same(other):
        return torch.allclose(value, other, rtol=1e-9, atol=1e-12)

    return {
        "odd": same(-a(-POINTS)),
        "even": same(a(-POINTS)),
        "periodic": same(a(POINTS + 2 * torch.pi)),
        "homogeneous": all(same(a(c * POINTS) / c) for c in (0.1, 3.0)),
    }


def said(facts: ActivationFacts) -> dict[str, bool]:
    assert facts.period in (None, 2 * torch.pi)  # the only period that is tried
    return {
        "odd": facts.odd,
        "even": facts.even,
        "periodic": facts.period is not None,
        "homogeneous": facts.homogeneous,
    }


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_function_keeps_the_laws_that_the_table_says_and_no_others(name):
    assert found(name) == said(ACTIVATIONS[name])


@pytest.mark.parametrize("wrong", [{"odd": False}, {"even": True}, {"period": None}, {"homogeneous": True}])
def test_a_wrong_entry_of_the_table_is_found(wrong):
    assert found("sine") != said(replace(ACTIVATIONS["sine"], **wrong))


def test_every_activation_has_a_function():
    assert set(FUNCTIONS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", TABLES)
def test_the_compiled_tables_have_the_order_of_ours(name):
    (path,) = SOURCE.rglob(name)
    (table,) = re.findall(r"constexpr Activation ACTIVATIONS\[\] = \{(.*?)\};", path.read_text(), re.DOTALL)
    assert tuple(re.findall(r"activate<(\w+)>", table)) == TABLES[name]
