"""Parameters saved by the authors' release of Neural Graphs (Kofinas et al., ICLR 2024), brought into our modules.

| kind | the release's class | what comes back |
|---|---|---|
| ng_gnn | `GNNForClassification` with PNA | `Reader` of an `NGGNNEncoder` and its head: weights -> (B, d_out) |
| ng_gnn | `GNNParams`, which edits | `Offsets`: weights -> (B, P), what it adds to them |
| ng_t | `RelationalTransformer` | the same of an `NGTEncoder` |
| ng_t | `RelationalTransformerParams`, which edits | `Offsets` |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.frameworks.reader import Reader
from weightwalk.interop.ng_release.gnn import gnn
from weightwalk.interop.ng_release.graph import settings
from weightwalk.interop.ng_release.offsets import Offsets
from weightwalk.interop.ng_release.transformer import transformer
from weightwalk.registry import unknown

__all__ = ["Offsets", "load"]

KINDS: dict[str, Callable[[Mapping[str, Tensor], Sequence[int], Mapping[str, Any]], Reader | Offsets]] = {
    "ng_gnn": gnn,
    "ng_t": transformer,
}
"""(state dict, widths, config) -> the reader; a kind is a file of this room."""


def load(
    state_dict: Mapping[str, Tensor],
    widths: Sequence[int],
    kind: str = "ng_gnn",
    config: Mapping[str, Any] | None = None,
) -> Reader | Offsets:
    """A reader in evaluation mode with the release's parameters, for MLPs of `widths` n_0 ... n_L.

    Sizes, depth, probes, reverse edges and Fourier features are read off the parameters. `config` are the release's own
    settings, as plain values or texts of JSON, in groups or not; these are read, others may be there:

    - `stats`: `weights_mean`, `weights_std`, `biases_mean`, `biases_std`, a number per layer; left out, nothing is
      standardised;
    - `omega` (30) and `activation` ("sine") of the networks, and `output_offset` (0.5), what they add to their output,
      which probes see;
    - `n_heads` of a transformer;
    - `pooling_method` "cat" with `pooling_layer_idx` "last", or "mean" or "max" with "all";
    - of a graph network `norm`: "minibatch" (left out) as the release normalises, or "node", as we do, so that answers
      do not depend on the batch;
    - of a graph network that edits `bias_nodes`: "first" (left out) as the release reads the offsets of biases, from
      the first input on, or "own", each from its own node, which is what the release's parameters were not trained for.

    InputError where names or shapes do not fit.
    """
    if kind not in KINDS:
        raise InputError(unknown("kind", kind, list(KINDS)))
    return KINDS[kind](state_dict, widths, settings({} if config is None else config))
