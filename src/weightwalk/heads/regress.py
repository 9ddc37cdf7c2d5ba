"""Heads whose answer is one number."""

from __future__ import annotations

from torch import Tensor, nn

from weightwalk.heads.classify import MLPHead


class ShareHead(nn.Module):
    """An MLP of two hidden layers whose one output, through a sigmoid, is a share between 0 and 1, such as an accuracy.

    It answers with the logit, (B, E) -> (B,): losses of logits are exact where those of rounded sigmoids are not.
    """

    def __init__(self, in_dim: int, hidden_dim: int, dropout: float = 0.0):
        super().__init__()
        self.mlp = MLPHead(in_dim, hidden_dim, 1, num_hidden=2, dropout=dropout)

    def forward(self, encoding: Tensor) -> Tensor:
        logits: Tensor = self.mlp(encoding)
        return logits.squeeze(-1)
