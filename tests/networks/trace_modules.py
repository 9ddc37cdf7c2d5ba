"""Modules as people write them, for the tracer to read: `MODULES[name]` makes one and gives it with an example
input.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Made = tuple[nn.Module, Tensor]
MODULES: dict[str, Callable[[], Made]] = {}


def module(make: Callable[[], Made]) -> Callable[[], Made]:
    MODULES[make.__name__.replace("_", " ")] = make
    return make


def shaken(model: nn.Module) -> nn.Module:
    """Norms with scales, shifts and running statistics as after a training, so that none of them goes unnoticed."""
    for child in model.modules():
        for name, tensor in (*child.named_parameters(recurse=False), *child.named_buffers(recurse=False)):
            with torch.no_grad():
                if name == "running_var":
                    tensor.uniform_(0.5, 2.0)
                elif name == "running_mean" or (
                    tensor.dim() == 1 and tensor.is_floating_point() and tensor.numel() > 1
                ):
                    tensor.add_(0.3 * torch.randn_like(tensor))
    return model


@module
def mlp() -> Made:
    return nn.Sequential(
        nn.Linear(3, 8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2)
    ), torch.randn(4, 3)


class Siren(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 8), nn.Linear(8, 7), nn.Linear(7, 1)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = torch.sin(30 * layer(x))
        return self.layers[-1](x) * 2 + 0.5


@module
def siren() -> Made:
    return Siren(), torch.rand(5, 2)


@module
def vgg() -> Made:
    layers = [
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.BatchNorm2d(12),
    ]
    layers += [
        nn.ReLU(True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 10),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(10, 5),
        nn.LogSoftmax(1),
    ]
    return nn.Sequential(*layers), torch.randn(2, 3, 8, 8)


class BasicBlock(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.relu, self.downsample = nn.ReLU(inplace=True), None
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


def resnet_of(widths: list[int], blocks: int, classes: int, stem: bool) -> nn.Module:
    first = [nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)] if stem else [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)]
    layers: list[nn.Module] = [
        *first,
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(inplace=True),
        *([nn.MaxPool2d(3, 2, 1)] if stem else []),
    ]
    before = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(BasicBlock(before, width, 2 if stage and not block else 1))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(1), nn.Linear(before, classes))


@module
def resnet() -> Made:
    return resnet_of([6, 8], 2, 4, stem=False), torch.randn(2, 3, 8, 8)


class OptionA(nn.Module):
    """A shortcut of zeros, as in the ResNets for CIFAR-10, and a head without a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.bn = (
            nn.Conv2d(3, 4, 3, 1, 1),
            nn.Conv2d(4, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
        )
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.bn(self.conv(x)) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))
        return self.head(F.avg_pool2d(x, x.size(3))).squeeze(-1).squeeze(-1)


@module
def zero_padded_shortcut() -> Made:
    return OptionA(), torch.randn(2, 3, 8, 8)


class MobileBlock(nn.Module):
    """Depthwise separable, with a squeeze-excite gate."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.expand, self.depthwise, self.project = (
            nn.Conv2d(width, wide, 1),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide),
            nn.Conv2d(wide, width, 1),
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(wide), nn.BatchNorm2d(wide), nn.BatchNorm2d(width)])
        self.squeeze, self.excite = nn.Conv2d(wide, 3, 1), nn.Conv2d(3, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.norms[0](self.expand(x)))
        y = F.hardswish(self.norms[1](self.depthwise(y)))
        gate = self.excite(F.silu(self.squeeze(F.adaptive_avg_pool2d(y, 1))))
        return x + self.norms[2](self.project(y * torch.sigmoid(gate)))


@module
def depthwise_separable() -> Made:
    head = [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), MobileBlock(4, 8), MobileBlock(4, 6), *head), torch.randn(2, 1, 8, 8)


class DenseBlock(nn.Module):
    def __init__(self, width: int, growth: int, count: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width + growth * index) for index in range(count))
        self.convs = nn.ModuleList(
            nn.Conv2d(width + growth * index, growth, 3, padding=1, bias=False) for index in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            found.append(conv(F.relu(norm(torch.cat(found, 1)))))
        return torch.cat(found, 1)


@module
def densenet() -> Made:
    layers = [
        nn.Conv2d(3, 4, 3, padding=1),
        DenseBlock(4, 3, 3),
        nn.AvgPool2d(2),
        nn.Conv2d(13, 5, 1),
        nn.Flatten(),
        nn.Linear(80, 3),
    ]
    return nn.Sequential(*layers), torch.randn(2, 3, 8, 8)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)]
        )
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(8, 6, 2, 2), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)]
        )
        self.back = nn.ModuleList([nn.Conv2d(12, 6, 3, padding="same"), nn.Conv2d(10, 4, 3, padding=1)])
        self.norm, self.out = nn.GroupNorm(2, 6), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = F.leaky_relu(self.down[0](x), 0.2)
        two = F.elu(self.down[1](F.max_pool2d(one, 2)))
        y = F.mish(self.down[2](F.max_pool2d(two, 2)))
        y = F.softplus(self.norm(self.back[0](torch.cat([self.up[0](y), two], dim=1))))
        return self.out(F.selu(self.back[1](torch.cat((one, self.up[1](y)), dim=1))))


@module
def u_net() -> Made:
    return UNet(), torch.randn(2, 1, 8, 8)


class Temporal(nn.Module):
    """Causal convolutions over a sequence, channels first, the end cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.skip = (
            nn.Conv1d(3, 6, 3, padding=4, dilation=2),
            nn.Conv1d(6, 6, 3, groups=2),
            nn.Conv1d(3, 6, 1),
        )
        self.norm, self.out = nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.one(x)[:, :, :-4]))
        y = self.two(F.pad(y, (2, 0)))
        return self.out((y + self.skip(x)).clamp(min=0).mean(-1))


@module
def temporal_convolutions() -> Made:
    return Temporal(), torch.randn(2, 3, 10)


class Attention(nn.Module):
    """Multi-head self-attention, as in timm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj, self.drop = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        weights = self.drop(((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1))
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(dim), Attention(dim, heads), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.scale = nn.Parameter(torch.rand(dim) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.scale * self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, 12)), nn.Parameter(torch.randn(1, 5, 12))
        self.blocks, self.norm, self.head = (
            nn.Sequential(Block(12, 3), Block(12, 2)),
            nn.LayerNorm(12),
            nn.Linear(12, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1) + self.pos
        return self.head(self.norm(self.blocks(x))[:, 0])


@module
def vit() -> Made:
    return ViT(), torch.randn(2, 3, 8, 8)


class SimpleViT(nn.Module):
    """Patches as einops makes them, (b, c, h p1, w p2) -> (b, h w, p1 p2 c), fixed sines for positions, the mean of all
    tokens.
    """

    def __init__(self, order: str = "hwc") -> None:
        super().__init__()
        self.order = order
        self.embed = nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 12), nn.LayerNorm(12))
        self.block, self.head = Block(12, 3), nn.Linear(12, 4)
        self.register_buffer("table", torch.sin(torch.arange(24.0).reshape(4, 6)[:, :].repeat(1, 2)))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, *((3, 5, 1) if self.order == "hwc" else (1, 3, 5)))
        x = self.embed(x.reshape(b, (h // 4) * (w // 4), 48)) + self.table
        return self.head(self.block(x).mean(dim=1))


@module
def simple_vit() -> Made:
    return SimpleViT(), torch.randn(2, 3, 8, 8)


@module
def simple_vit_channels_outside() -> Made:
    return SimpleViT("chw"), torch.randn(2, 3, 8, 8)


@module
def transformer_encoder() -> Made:
    layer = nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False), torch.randn(2, 5, 8)


class Multihead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 4, batch_first=True, bias=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(5))

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.attention(x, x, x, attn_mask=self.mask)
        return F.layer_norm(x + y, (8,))


@module
def multihead_attention() -> Made:
    return Multihead(), torch.randn(2, 5, 8)


class CausalSelfAttention(nn.Module):
    """As in nanoGPT, by hand or by the fused function."""

    def __init__(self, dim: int, heads: int, block: int, flash: bool) -> None:
        super().__init__()
        self.c_attn, self.c_proj, self.heads, self.dim, self.flash = (
            nn.Linear(dim, 3 * dim),
            nn.Linear(dim, dim),
            heads,
            dim,
            flash,
        )
        self.register_buffer("bias", torch.tril(torch.ones(block, block)).view(1, 1, block, block))

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        q, k, v = (
            y.view(b, t, self.heads, c // self.heads).transpose(1, 2) for y in self.c_attn(x).split(self.dim, dim=2)
        )
        if self.flash:
            y = F.scaled_dot_product_attention(
                q, k, v, attn_mask=None, dropout_p=0.1 if self.training else 0, is_causal=True
            )
        else:
            att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            att = F.softmax(att.masked_fill(self.bias[:, :, :t, :t] == 0, float("-inf")), dim=-1)
            y = att @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))


def new_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class GPTBlock(nn.Module):
    def __init__(self, dim: int, heads: int, block: int, flash: bool) -> None:
        super().__init__()
        self.ln_1, self.attn, self.ln_2 = (
            nn.LayerNorm(dim, bias=False),
            CausalSelfAttention(dim, heads, block, flash),
            nn.LayerNorm(dim),
        )
        self.c_fc, self.c_proj = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.c_proj(new_gelu(self.c_fc(self.ln_2(x))))


class GPT(nn.Module):
    def __init__(self, vocabulary: int, block: int, dim: int, heads: int, layers: int, last: bool = False) -> None:
        super().__init__()
        self.wte, self.wpe, self.drop = nn.Embedding(vocabulary, dim), nn.Embedding(block, dim), nn.Dropout(0.1)
        self.h = nn.ModuleList(GPTBlock(dim, heads, block, index % 2 == 0) for index in range(layers))
        self.ln_f, self.lm_head, self.last = nn.LayerNorm(dim), nn.Linear(dim, vocabulary, bias=False), last
        self.wte.weight = self.lm_head.weight

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        x = self.drop(self.wte(idx) + self.wpe(torch.arange(0, idx.shape[1], dtype=torch.long, device=idx.device)))
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        return self.lm_head(x[:, [-1], :] if self.last else x), None


@module
def gpt() -> Made:
    return GPT(11, 8, 12, 3, 2), torch.randint(0, 11, (2, 6))


@module
def gpt_that_answers_once() -> Made:
    return GPT(11, 8, 12, 3, 1, last=True), torch.randint(0, 11, (2, 6))


class HandRMSNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), 1e-5

    def forward(self, x: Tensor) -> Tensor:
        normed = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return normed.type_as(x) * self.weight


class LlamaBlock(nn.Module):
    """RMS norms, grouped queries, a SwiGLU."""

    def __init__(self, dim: int, heads: int, shared: int, wide: int) -> None:
        super().__init__()
        self.heads, self.shared, self.depth = heads, shared, dim // heads
        self.wq, self.wo = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.wk, self.wv = (nn.Linear(dim, shared * self.depth, bias=False) for _ in range(2))
        self.w1, self.w2, self.w3 = (
            nn.Linear(dim, wide, bias=False),
            nn.Linear(wide, dim, bias=False),
            nn.Linear(dim, wide, bias=False),
        )
        self.attention_norm, self.ffn_norm = HandRMSNorm(dim), nn.RMSNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        y, (b, t, _) = self.attention_norm(x), x.shape
        q = self.wq(y).view(b, t, self.heads, self.depth).transpose(1, 2)
        k, v = (layer(y).view(b, t, self.shared, self.depth) for layer in (self.wk, self.wv))
        times = self.heads // self.shared
        k = (
            k[:, :, :, None, :]
            .expand(b, t, self.shared, times, self.depth)
            .reshape(b, t, self.heads, self.depth)
            .transpose(1, 2)
        )
        v = torch.repeat_interleave(v, times, dim=2).transpose(1, 2)
        scores = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(self.depth)
        scores = F.softmax(scores.float() + torch.full((t, t), float("-inf")).triu(1), dim=-1).type_as(q)
        x = x + self.wo(torch.matmul(scores, v).transpose(1, 2).contiguous().view(b, t, -1))
        y = self.ffn_norm(x)
        return x + self.w2(F.silu(self.w1(y)) * self.w3(y))


class Llama(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tok, self.layers = nn.Embedding(13, 12), nn.ModuleList([LlamaBlock(12, 4, 2, 10), LlamaBlock(12, 4, 1, 9)])
        self.norm, self.output = HandRMSNorm(12), nn.Linear(12, 13, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tok(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.output(self.norm(x))


@module
def llama() -> Made:
    return Llama(), torch.randint(0, 13, (2, 5))


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(dim, dim, 7, padding=3, groups=dim), nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.pwconv2, self.gamma = (
            nn.Linear(dim, 4 * dim),
            nn.Linear(4 * dim, dim),
            nn.Parameter(torch.rand(dim)),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


@module
def convnext() -> Made:
    return nn.Sequential(nn.Conv2d(3, 6, 4, 4), ConvNeXtBlock(6), ConvNeXtBlock(6)), torch.randn(2, 3, 16, 12)


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 6, 4, 4), nn.LayerNorm(6)
        self.tokens, self.channels = (
            nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 4)),
            nn.Sequential(nn.Linear(6, 7), nn.SiLU(), nn.Linear(7, 6)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return (x + self.channels(x)).mean(1)


@module
def mixer() -> Made:
    return Mixer(), torch.randn(2, 3, 8, 8)


class Shuffle(nn.Module):
    """ShuffleNet's channel shuffle and split, and a pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1, groups=2), nn.Conv2d(2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.relu(self.one(x)).chunk(2, dim=1)
        x = torch.cat([a, self.two(b)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.out(F.pixel_shuffle(x, 2))


@module
def shuffles() -> Made:
    return Shuffle(), torch.randn(2, 3, 4, 6)


class Decoder(nn.Module):
    """From a vector to a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(5, 6 * 4), nn.BatchNorm1d(24)
        self.up, self.out = (
            nn.ConvTranspose2d(6, 4, 4, 2, 1, groups=2),
            nn.ConvTranspose2d(4, 1, 3, 2, 1, output_padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.fc(z)), 0.1).view(-1, 6, 2, 2)
        return torch.sigmoid(self.out(torch.tanh(self.up(x))))


@module
def decoder() -> Made:
    return Decoder(), torch.randn(3, 5)


class Hand(nn.Module):
    """Formulas by hand: a linear map, a layer norm, activations, a unit length, a gate, a scalar, a weight norm."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b, self.g, self.s = (nn.Parameter(torch.randn(*shape)) for shape in ((4, 6), (6,), (6,), (1,)))
        self.gated, self.last = nn.Linear(6, 8), nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
        self.register_buffer("mean", torch.tensor([0.5, 0.1, 0.2, 0.3]))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / 0.25
        y = x @ self.w + self.b
        y = (y - y.mean(-1, keepdim=True)) / torch.sqrt(y.var(-1, keepdim=True, unbiased=False) + 1e-5) * self.g
        y = y * torch.sigmoid(y)
        y = F.normalize(y, dim=-1) * self.s
        y = F.glu(self.gated(y), dim=-1)
        return self.last(torch.exp(-((2 * y) ** 2) / 2) - y.pow(3))


@module
def formulas_by_hand() -> Made:
    return Hand(), torch.randn(4, 4)


class Einsum(nn.Module):
    """Attention by einsum, three projections, heads in the middle, normed queries and keys, another width of values."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 12), nn.Linear(12, 6)
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        q, k = (self.norm(layer(x).unflatten(-1, (2, 4))) for layer in (self.q, self.k))
        v = self.v(x).unflatten(-1, (2, 6))
        weights = torch.softmax(torch.einsum("bthd,bshd->bhts", q, k) * 0.7, dim=-1)
        return x + self.o(torch.einsum("bhts,bshd->bthd", weights, v).flatten(2))


@module
def attention_by_einsum() -> Made:
    return Einsum(), torch.randn(2, 5, 6)


class Shared(nn.Module):
    """One layer twice, a parametric slope, two classes of norms that are there once."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last, self.slope = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2), nn.PReLU(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slope(self.first(x))
        return self.last(self.inner(torch.tanh(self.inner(x))) - x).softmax(-1)


@module
def shared_layers() -> Made:
    return Shared(), torch.randn(3, 3)


class Pictures(nn.Module):
    """A dense network that flattens a picture, with a norm over all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.one, self.two = nn.LayerNorm([2, 4, 4]), nn.Linear(32, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(F.relu(self.one(self.norm(x).view(x.size(0), -1))))


@module
def flattened_picture() -> Made:
    return Pictures(), torch.randn(2, 2, 4, 4)


@module
def volume() -> Made:
    layers = [
        nn.Conv3d(1, 5, 3, (1, 2, 1), 1),
        nn.InstanceNorm3d(5, affine=True),
        nn.CELU(),
        nn.MaxPool3d(2),
        nn.AdaptiveAvgPool3d(1),
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(5, 2)), torch.randn(2, 1, 4, 8, 4)
