"""How a node's memory is made of its bias and its message: the recurrent cell (Eq 6) and the controls of it, by name.

Everywhere x = W_b phi(b) is the input and the message m is the hidden state that the input updates. Each gives the new
memory before the LayerNorm.

Axes: B networks, O nodes, D memory, G gates.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.encoders.recurrence import recurrence
from weightwalk.registry import Registry


class GRU(nn.GRUCell):
    """The paper's: z, r gates of x and m, s = (1 - z) * tanh(W x + r * (U m)) + z * m."""

    def __init__(self, dim: int):
        super().__init__(dim, dim)

    def update(self, of_input: Tensor, hidden: Tensor, of_hidden: Tensor | None = None) -> Tensor:
        """From W_ih x without its bias, (B, O, G D) or broadcast to it, and m (B, O, D) the new memory (B, O, D).

        `of_hidden` is W_hh m, where it is known.
        """
        known = F.linear(hidden, self.weight_hh) if of_hidden is None else of_hidden
        of_hidden = known + self.bias_hh
        return recurrence((of_input + self.bias_ih).expand_as(of_hidden), of_hidden, hidden)


class LSTM(nn.LSTMCell):
    """c' = f * m + i * g, s = o * tanh(c') with gates i, f, o and the candidate g of x and m.

    The cell state starts at the message, not at zero, where the forget gate would have nothing to forget. It is not
    carried on: a node is updated once in a pass.
    """

    def __init__(self, dim: int):
        super().__init__(dim, dim)

    def update(self, of_input: Tensor, hidden: Tensor, of_hidden: Tensor | None = None) -> Tensor:
        """As `GRU.update`."""
        known = F.linear(hidden, self.weight_hh) if of_hidden is None else of_hidden
        enter, forget, new, leave = (of_input + known + self.bias_ih + self.bias_hh).chunk(4, dim=-1)
        state = forget.sigmoid() * hidden + enter.sigmoid() * new.tanh()
        return leave.sigmoid() * state.tanh()


class _OfInput(nn.Module):
    """A cell whose gates see the input alone, by weights named as those of torch's cells."""

    weight_hh = None

    def __init__(self, dim: int, gates: int):
        super().__init__()
        linear = nn.Linear(dim, gates * dim)
        self.weight_ih, self.bias_ih = linear.weight, linear.bias

    def _gates(self, of_input: Tensor, hidden: Tensor) -> Tensor:
        gates = of_input + self.bias_ih
        return gates.expand(*hidden.shape[:-1], gates.shape[-1])


class MinGRU(_OfInput):
    """s = (1 - z) * m + z * n with z = sigma(W_z x + b_z) and n = W_n x + b_n (minGRU, Feng et al. 2024): no gate sees
    the message.
    """

    def __init__(self, dim: int):
        super().__init__(dim, 2)

    def update(self, of_input: Tensor, hidden: Tensor, of_hidden: Tensor | None = None) -> Tensor:
        """As `GRU.update`."""
        keep, new = self._gates(of_input, hidden).chunk(2, dim=-1)
        return torch.lerp(hidden, new, keep.sigmoid())


class Residual(_OfInput):
    """s = m + W x + b: no gate at all."""

    def __init__(self, dim: int):
        super().__init__(dim, 1)

    def update(self, of_input: Tensor, hidden: Tensor, of_hidden: Tensor | None = None) -> Tensor:
        """As `GRU.update`."""
        return hidden + self._gates(of_input, hidden)


Cell = GRU | LSTM | MinGRU | Residual
CELLS: Registry[type[Cell]] = Registry("cell")
CELLS.register("gru")(GRU)
CELLS.register("lstm")(LSTM)
CELLS.register("mingru")(MinGRU)
CELLS.register("residual")(Residual)
