"""Names and shapes of the release's parameters, and how they come into our modules."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

from torch import Tensor, nn

from weightwalk.errors import InputError

M = TypeVar("M", bound=nn.Module)


def get(state_dict: Mapping[str, Tensor], name: str, dims: int | None = None) -> Tensor:
    """One of the release's parameters, with `dims` axes; InputError where it is missing."""
    if name not in state_dict:
        raise InputError(
            f"expected the release's parameter {name!r}, found {', '.join(list(state_dict)[:5])}, ...; is `kind` right?"
        )
    if dims is not None and state_dict[name].dim() != dims:
        raise InputError(f"{name} must have {dims} axes, got {tuple(state_dict[name].shape)}")
    return state_dict[name]


def encoder_names(
    state_dict: Mapping[str, Tensor], prefix: str, frequencies: str, maps: Mapping[str, str], numbers: str, place: str
) -> dict[str, str]:
    """Our name of every encoder parameter -> theirs, which begins with `prefix`.

    A map of theirs is called by a key of `maps`, then `numbers`, a pattern of the pass and, where there is one, the
    layer, which fills `place` in ours. The recurrent cell of a pass is `rnn_p`; its gates lie as in torch.nn.GRUCell.
    """
    names = {"input_memory": f"{prefix}input_init_node", "features.frequencies": f"{prefix}{frequencies}"}
    of_map = re.compile(rf"{re.escape(prefix)}({'|'.join(maps)}){numbers}\.((?:[02]\.)?(?:weight|bias))")
    of_cell = re.compile(rf"{re.escape(prefix)}rnn_(\d+)\.(input|hidden)_map\.(weight|bias)")
    for theirs in state_dict:
        if found := of_map.fullmatch(theirs):
            kind, walk, *layer, role = found.groups()
            names[f"passes.{walk}.{place.format(*layer)}{maps[kind]}.{role}"] = theirs
        elif found := of_cell.fullmatch(theirs):
            walk, side, role = found.groups()
            names[f"passes.{walk}.cell.{role}_{'ih' if side == 'input' else 'hh'}"] = theirs
    return names


def inside(module: str, names: Mapping[str, str]) -> dict[str, str]:
    """The same where ours are the parameters of a submodule."""
    return {f"{module}.{ours}": theirs for ours, theirs in names.items()}


def both(ours: str, theirs: str) -> dict[str, str]:
    """The names of a linear map's weight and bias."""
    return {f"{ours}.{role}": f"{theirs}.{role}" for role in ("weight", "bias")}


def fill(
    model: M,
    names: Mapping[str, str],
    state_dict: Mapping[str, Tensor],
    made: Mapping[str, Tensor] | None = None,
    spent: Collection[str] = (),
) -> M:
    """The model with every parameter set, in evaluation mode: our name -> theirs in `names`, or our tensor in `made`.

    `spent` are parameters of theirs that are used otherwise. InputError: a name or shape doesn't fit, or some are left.
    """
    made = made or {}
    state = model.state_dict()
    kept = {name: value for name, value in state.items() if name.endswith(".reach")}  # no parameter of theirs
    own = {name: value for name, value in state.items() if name not in kept}
    missing = [name for name in own if name not in names and name not in made]
    if missing:
        raise InputError(
            f"the release's parameters have nothing for {missing[0]} ({len(missing)} missing); are the widths right?"
        )
    strangers = set(state_dict) - set(names.values()) - set(spent)
    if strangers:
        raise InputError(
            f"no place for the release's parameter {sorted(strangers)[0]!r} ({len(strangers)} too many); are the "
            "widths right?"
        )
    for ours, theirs in names.items():
        if ours not in own:
            raise InputError(f"no place for the release's parameter {theirs!r}; are the widths right?")
        given = get(state_dict, theirs)
        if given.numel() != own[ours].numel() or (
            given.dim() > 1 and own[ours].dim() > 1 and given.shape != own[ours].shape
        ):
            raise InputError(f"{theirs} must be {tuple(own[ours].shape)} for these widths, got {tuple(given.shape)}")
    theirs_of_ours = {ours: get(state_dict, theirs).reshape(own[ours].shape) for ours, theirs in names.items()}
    model.load_state_dict(kept | theirs_of_ours | dict(made))
    return model.eval()
