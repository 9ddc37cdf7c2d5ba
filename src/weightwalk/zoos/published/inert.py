"""torch's files that hold objects besides tensors, read without running anything that they bring.

Whatever a file asks for that torch does not allow is replaced by an object that only keeps what it is given. Of
configurations of OmegaConf, which the Wild Park was saved with, the values are taken out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from weightwalk.errors import InputError
from weightwalk.zoos.formats import opened


class _Inert:
    """Stands in for an object of any class, or for a function's result."""

    def __init__(self, *arguments: Any, **options: Any):
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def load(path: Path) -> dict[str, Any]:
    """The dictionary in a file of torch.save: tensors and plain values."""
    with opened(path):  # which tells what the system has against it
        pass
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stand_ins: list[Any] = [(type("Inert", (_Inert,), {}), name) for name in names]
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        told = (str(error).strip() or "nothing is said").splitlines()[0]
        raise InputError(
            f"expected a checkpoint at {path}, got a file that torch.load cannot read ({told}); get a whole copy"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"expected a dictionary in {path}, got {type(content).__name__}; get a whole copy")
    plain: dict[str, Any] = _plain(content)
    return plain


def _plain(value: Any) -> Any:
    """Dictionaries, lists and values, out of OmegaConf's containers (`_content`) and nodes (`_val`) and of instances as
    such.
    """
    if isinstance(value, _Inert):
        state = value.state
        if not isinstance(state, dict):
            return _plain(state)
        return _plain(next((state[key] for key in ("_content", "_val") if key in state), state))
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
