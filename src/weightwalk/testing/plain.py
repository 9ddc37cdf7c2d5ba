"""The plain form of the DNG-Encoder and INR2JLS: the paper's equations one after another, in ordinary torch.

It is what our faster forms are checked against and measured against (`weightwalk bench encode`, `bench train`). The
parameters are those of our modules, which it never calls; batches are never looped over, and nothing is rearranged that
the equations do not rearrange. Source: Dynamic Neural Graphs (TMLR 2026), sections 4 and 5, Fig 4.

Axes: B networks, I source nodes, O target nodes, K taps, F Fourier features, A numbers of a head, D memory, T latents,
V views, C channels of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.encoders import DNGEncoder
from weightwalk.encoders.dng import DETAILS
from weightwalk.encoders.dng.builder import off_chain, where
from weightwalk.encoders.dng.passes import Pass
from weightwalk.frameworks.inr2jls import INR2JLS
from weightwalk.heads.latents import ConvDecoder, LatentGenerator
from weightwalk.spec import ACTIVATIONS, Scheduled
from weightwalk.steps import Conv
from weightwalk.weights import Weights


def features(x: Tensor, frequencies_F: Tensor) -> Tensor:
    """phi(x) = [sin(2 pi x f), cos(2 pi x f)]: (...) -> (..., F)."""
    angles = 2 * math.pi * x.unsqueeze(-1) * frequencies_F
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def messages(edges: Tensor, sources: Tensor, mlp: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """m_i = sum_j e_ij * s_j (Eq 4), or with an MLP m_i = sum_j MLP( concat_n [ e_ij,n * s_j,n ] ) (Eq 5).

    Shapes: edges (B, O, I, D) and sources (B, I, D), or (B, O, I, K, A) and (B, I, K, A), -> (B, O, D).
    """
    product = edges * sources[:, None]
    return product.sum(2) if mlp is None else mlp(product.flatten(3)).sum(2)


def memories(encoder: DNGEncoder, weights: Weights) -> list[Tensor]:
    """s_i of the input's and of every layer's nodes (Eq 6), L + 1 tensors (B, n_l, D).

    ValueError for anything but a chain of dense layers and convolutions (with pooling and activations, which leave
    memories as they are), and for an encoder of another preset than "paper".
    """
    _check(encoder, weights)
    nodes = [encoder.input_memory.expand(len(weights), -1, -1)]
    for number, walk in enumerate(encoder.passes):
        assert isinstance(walk, Pass)
        found = nodes[:1]
        for at in weights.spec.schedule:
            if at.layer is not None:
                given = _bias_features(encoder, weights, at.layer) if number == 0 else nodes[at.layer + 1]
                found.append(_layer(encoder, walk, at, weights.weights[at.layer], found[-1], given))
        nodes = found
    return nodes


def _layer(encoder: DNGEncoder, walk: Pass, at: Scheduled, w: Tensor, sources: Tensor, given: Tensor) -> Tensor:
    """LayerNorm(GRU(input = W_b given, hidden = message)), with Eq 5 where the encoder has heads."""
    maps: Any = walk.of(at)
    edge, sent = maps.edge, maps.source(sources)
    edges = F.linear(features(w, encoder.features.frequencies), edge.weight, edge.bias)
    if encoder.builder.taps:
        edges = edges if w.dim() == 4 else edges.unsqueeze(3)
        edges = F.pad(edges, (0, 0, 0, maps.heads - edges.shape[3]))  # heads without a tap are empty
        message = messages(edges, sent.unflatten(2, (maps.heads, maps.head_dim)), maps.mix)
    else:
        message = messages(edges, sent)
    memory = walk.cell(
        F.linear(given, maps.input.weight, maps.input.bias).flatten(0, 1), message.flatten(0, 1)
    ).unflatten(0, message.shape[:2])
    normed: Tensor = encoder.dropout(maps.norm(memory))
    return normed


def _bias_features(encoder: DNGEncoder, weights: Weights, layer: int) -> Tensor:
    """phi(b), and the vector of the activation where the encoder has them; without a bias, b = 0."""
    b = weights.biases[layer]
    if b is None:
        b = weights.flat.new_zeros(len(weights), weights.spec.layers[layer].fan_out)
    phi = features(b, encoder.features.frequencies)
    if encoder.activations is None:
        return phi
    return phi + encoder.activations.weight[list(ACTIVATIONS).index(weights.spec.flow.activations[layer])]


def _check(encoder: DNGEncoder, weights: Weights) -> None:
    if encoder.details != DETAILS["paper"] or encoder.readout != "output" or not encoder.is_paper:
        raise ValueError(
            "the plain form is that of preset 'paper' and readout 'output', without controls and walks backward; make "
            "an encoder with these"
        )
    in_groups = (at for at in weights.spec.schedule if isinstance(at.step, Conv) and at.step.groups > 1)
    at = off_chain(weights.spec) or next(in_groups, None)
    if at is not None:
        raise ValueError(
            f"expected a chain of dense layers and convolutions, got {where(at, weights.spec)}; the plain form has no "
            "other"
        )


def pooled(encoder: DNGEncoder, weights: Weights) -> Tensor:
    """The output nodes' memories in order, (B, n_L D)."""
    return memories(encoder, weights)[-1].flatten(1)


def latents(generator: LatentGenerator, encoding_BE: Tensor) -> Tensor:
    """latent_t = W_2 relu(W_1 [theta_t ; e] + b_1) + b_2 for every network and t, (B, T, latent_dim)."""
    theta, encoding = generator.theta, encoding_BE[:, None]
    both = torch.cat([theta.expand(len(encoding_BE), -1, -1), encoding.expand(-1, len(theta), -1)], dim=2)
    fused: Tensor = generator.project(generator.fuse(both).relu_())
    return fused


def decoded(decoder: ConvDecoder, maps: Tensor) -> Tensor:
    """Transposed convolutions with ReLU between them, (N, C, h, w) -> (N, image channels, H, W)."""
    first, *others = [layer for layer in decoder.layers if isinstance(layer, nn.ConvTranspose2d)]
    found: Tensor = F.conv_transpose2d(maps, first.weight, first.bias, stride=2, padding=1)
    for layer in others:
        found = F.conv_transpose2d(found.relu_(), layer.weight, layer.bias, stride=2, padding=1)
    return found


def encode(model: INR2JLS, weights: Weights) -> Tensor:
    """The latents of a batch, (B, T, latent_dim)."""
    assert isinstance(model.encoder, DNGEncoder)
    return latents(model.generator, pooled(model.encoder, weights))


def maps(model: INR2JLS, weights: Weights) -> Tensor:
    """The latents as one feature map per view, (B, V, latent_dim, h, w)."""
    found: Tensor = encode(model, weights).unflatten(1, (model.num_views, *model.grid)).movedim(-1, 2)
    return found


def pictures(model: INR2JLS, weights: Weights) -> Tensor:
    """What INR2JLS says that the networks show, (B, V, C, H, W): the decoder on every view's map alone."""
    of_views = maps(model, weights)
    shown: Tensor = decoded(model.decoder, of_views.flatten(0, 1)).unflatten(0, of_views.shape[:2])
    return shown


def train_step(model: INR2JLS, optimizer: torch.optim.Optimizer, weights: Weights, targets: Tensor) -> Tensor:
    """One step on the mean squared error of all views, targets (B, V, C, H, W) in [-1, 1]; gives the loss before it."""
    optimizer.zero_grad()
    loss = F.mse_loss(pictures(model, weights), targets)
    loss.backward()
    optimizer.step()
    return loss.detach()
