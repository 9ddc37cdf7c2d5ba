"""The head of one number."""

import torch
from weightwalk.heads.regress import ShareHead


def test_one_logit_per_network_through_two_hidden_layers():
    head = ShareHead(5, 7)
    assert head(torch.randn(3, 5)).shape == (3,)
    assert [tuple(p.shape) for p in head.parameters()] == [(7, 5), (7,), (7, 7), (7,), (1, 7), (1,)]


def test_dropout_is_off_in_use():
    head = ShareHead(5, 50, dropout=0.5)
    x = torch.randn(3, 5)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))
