"""torch's files that hold objects besides tensors, read without running anything that they bring.

Whatever a file asks for that torch does not allow is replaced by an object that only keeps what it is given. Of
configurations of OmegaConf, which the Wild Park was saved with, the values are taken out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weightwalk.errors import InputError
from weightwalk.networks.files import Inert, unpickled


def load(path: Path) -> dict[str, Any]:
    """The dictionary in a file of torch.save: tensors and plain values."""
    content = unpickled(path, "a checkpoint", inert=True)
    if not isinstance(content, dict):
        raise InputError(f"expected a dictionary in {path}, got {type(content).__name__}; get a whole copy")
    plain: dict[str, Any] = _plain(content)
    return plain


def _plain(value: Any) -> Any:
    """Dictionaries, lists and values, taken out of OmegaConf's containers (`_content`) and nodes (`_val`)."""
    if isinstance(value, Inert):
        state = value.state
        if not isinstance(state, dict):
            return _plain(state)
        return _plain(next((state[key] for key in ("_content", "_val") if key in state), state))
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
