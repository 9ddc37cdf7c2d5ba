"""More modules for the tracer to read, of rarer kinds: they join `trace_modules.MODULES`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from trace_modules import Attention, Block, Made, module


class Rotary(nn.Module):
    """Rotary positions: channels of a head in two halves, or interleaved."""

    def __init__(self, interleaved: bool) -> None:
        super().__init__()
        self.qkv, self.out, self.interleaved = nn.Linear(12, 36, bias=False), nn.Linear(12, 12, bias=False), interleaved
        angles = torch.arange(5.0)[:, None] * torch.tensor([1.0, 0.1])
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def turned(self, x: Tensor) -> Tensor:
        if self.interleaved:
            a, b = x[..., ::2], x[..., 1::2]
            return torch.stack([a * self.cos - b * self.sin, a * self.sin + b * self.cos], -1).flatten(-2)
        a, b = x.chunk(2, -1)
        return x * self.cos.repeat(1, 2) + torch.cat([-b, a], -1) * self.sin.repeat(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (y.view(b, t, 3, 4).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v, is_causal=True)
        return x + self.out(y.transpose(1, 2).reshape(b, t, c))


@module
def rotary_halves() -> Made:
    return Rotary(False), torch.randn(2, 5, 12)


@module
def rotary_interleaved() -> Made:
    return Rotary(True), torch.randn(2, 5, 12)


class Windows(nn.Module):
    """Attention within windows of a picture, whose windows join the examples."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.attention = nn.Conv2d(3, 8, 1), nn.LayerNorm(8), Attention(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).permute(0, 2, 3, 1)
        b, h, w, c = x.shape
        y = x.view(b, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
        y = self.attention(self.norm(y)).view(b, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        return (x + y).mean((1, 2))


@module
def windows() -> Made:
    return Windows(), torch.randn(2, 3, 8, 8)


class LearnedQueries(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.attention, self.into = (
            nn.Parameter(torch.randn(1, 2, 8)),
            nn.MultiheadAttention(8, 2, batch_first=True),
            nn.Linear(3, 8),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        return self.attention(self.query.expand(len(x), -1, -1), x, x)[0].flatten(1)


@module
def learned_queries() -> Made:
    return LearnedQueries(), torch.randn(2, 5, 3)


class Field(nn.Module):
    """A radiance field's network: sines and cosines of coordinates, the input once more, outputs of two kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Linear(15, 6), nn.Linear(9, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.cat([x] + [wave(2**k * x) for k in range(2) for wave in (torch.sin, torch.cos)], -1)
        h = F.relu(self.two(torch.cat([F.relu(self.one(features)), x], -1)))
        y = self.out(h)
        return torch.cat([torch.sigmoid(y[..., :3]), F.relu(y[..., 3:])], -1)


@module
def radiance_field() -> Made:
    return Field(), torch.randn(4, 3)


class Segmenter(nn.Module):
    """A global branch that is spread over the picture, a gate of one channel, an output of the input's size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.out = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(12, 1, 1), nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(x))
        y = torch.cat([y, F.adaptive_avg_pool2d(y, 1).expand_as(y)], 1)
        return F.interpolate(
            self.out(y * torch.sigmoid(self.gate(y))), size=x.shape[2:], mode="bilinear", align_corners=False
        )


@module
def segmenter() -> Made:
    return Segmenter(), torch.randn(2, 3, 8, 8)


class Registers(nn.Module):
    """A class token and registers before the patches, the mean of patches beside the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.block, self.out = nn.Conv2d(3, 8, 4, 4), Block(8, 2), nn.Linear(16, 3)
        self.cls, self.registers, self.pos = (nn.Parameter(torch.randn(1, count, 8)) for count in (1, 2, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.pos
        x = self.block(torch.cat([self.cls.expand(len(x), -1, -1), self.registers.expand(len(x), -1, -1), x], 1))
        return self.out(torch.cat([x[:, 0], x[:, 3:].mean(1)], -1))


@module
def registers() -> Made:
    return Registers(), torch.randn(2, 3, 8, 8)


class Signal(nn.Module):
    """A signal without an axis of channels, into convolutions and a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv1d(1, 4, 3, stride=2), nn.Linear(28, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.conv(x.unsqueeze(1))).flatten(1))


@module
def signal_without_channels() -> Made:
    return Signal(), torch.randn(2, 16)


class Conformer(nn.Module):
    """Channels last and first by turns: a GLU, a depthwise convolution, a residual connection of the input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.one, self.depthwise = (
            nn.LayerNorm(6),
            nn.Conv1d(6, 12, 1),
            nn.Conv1d(6, 6, 3, padding=1, groups=6),
        )
        self.batch, self.two = nn.BatchNorm1d(6), nn.Conv1d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.glu(self.one(self.norm(x).transpose(1, 2)), dim=1)
        return x + self.two(F.silu(self.batch(self.depthwise(y)))).transpose(1, 2)


@module
def conformer() -> Made:
    return Conformer(), torch.randn(2, 5, 6)


class Resizing(nn.Module):
    """Grids of other sizes, that are no multiples: an adaptive pooling, a decoder that meets its skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Conv2d(5, 6, 3, padding=1)
        self.pool, self.peak, self.out = nn.AdaptiveAvgPool2d((3, 7)), nn.AdaptiveMaxPool2d(2), nn.Linear(6 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.interpolate(torch.relu(self.down(x)), size=x.shape[2:], mode="bilinear", align_corners=False)
        y = self.up(torch.cat([x, y], 1))
        return self.out(self.peak(F.interpolate(self.pool(y), size=(5, 9))).flatten(1))


@module
def resizing() -> Made:
    return Resizing(), torch.randn(2, 1, 9, 11)


class Masked(nn.Module):
    """torch's own encoder, given a causal mask, with its sequences in front."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12)
        self.table, self.stack = nn.Embedding(11, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens).transpose(0, 1)
        mask = nn.Transformer.generate_square_subsequent_mask(len(x))
        y: Tensor = self.stack(x, mask=mask).transpose(0, 1)
        return y


@module
def masked_transformer_encoder() -> Made:
    return Masked(), torch.randint(0, 11, (2, 5))


class Folded(nn.Module):
    """Attention with examples and heads in one axis, its scores made by baddbmm, with or without the mask in it."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.qkv, self.out, self.masked = nn.Linear(6, 18), nn.Linear(6, 6), masked

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (y.view(n, t, 2, 3).transpose(1, 2).reshape(2 * n, t, 3) for y in self.qkv(x).chunk(3, -1))
        start = torch.full((t, t), float("-inf")).triu(1) if self.masked else x.new_empty(2 * n, t, t)
        scores = torch.baddbmm(start.to(q), q, k.transpose(1, 2), beta=int(self.masked), alpha=3**-0.5)
        y = (scores.softmax(-1) @ v).view(n, 2, t, 3).transpose(1, 2).reshape(n, t, 6)
        return x + self.out(y)


@module
def folded_heads() -> Made:
    return Folded(False), torch.randn(2, 5, 6)


@module
def folded_heads_with_a_mask() -> Made:
    return Folded(True), torch.randn(2, 5, 6)
