import pytest

from weightwalk import InputError
from weightwalk.registry import Registry


@pytest.fixture
def tools():
    registry = Registry("tool")
    registry.register("hammer")(1)
    registry.register("saw")(2)
    return registry


def test_a_registry_is_a_mapping_in_order_of_registration(tools):
    assert list(tools.items()) == [("hammer", 1), ("saw", 2)]
    assert "saw" in tools
    assert "drill" not in tools
    assert len(tools) == 2


def test_the_decorator_gives_back_what_it_registers(tools):
    @tools.register("drill")
    def drill():
        return 3

    assert tools["drill"] is drill
    assert drill() == 3


def test_a_duplicate_is_loud_and_changes_nothing(tools):
    with pytest.raises(ValueError, match="tool 'saw' is registered twice"):
        tools.register("saw")(3)
    assert tools["saw"] == 2


def test_a_typo_gets_the_nearest_name(tools):
    with pytest.raises(InputError, match="unknown tool 'hamer'; known: hammer, saw; did you mean 'hammer'"):
        tools["hamer"]
    with pytest.raises(InputError, match=r"known: hammer, saw$"):
        tools["xyz"]
