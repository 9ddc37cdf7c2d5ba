"""The tracer's two laws on architectures that nobody chose."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trace import assert_laws
from torch import nn
from torch.nn import functional as F
from trace_modules import shaken

FUNCTIONS = [
    torch.relu,
    torch.tanh,
    F.gelu,
    F.silu,
    torch.sigmoid,
    torch.sin,
    lambda x: F.leaky_relu(x, 0.3),
    lambda x: x * x.sigmoid() * 0.5 - 1,
]
functions = st.sampled_from(FUNCTIONS)


class Dense(nn.Module):
    """An MLP with sums, products and concatenations of values of any depth."""

    def __init__(self, draw):
        super().__init__()
        self.width, self.plan = draw(st.integers(2, 6)), []
        layers, widths = [nn.Linear(3, self.width)], [self.width]
        for _ in range(draw(st.integers(1, 5))):
            kind = draw(st.sampled_from(["linear", "add", "multiply", "cat", "chunk", "norm"]))
            one, two = draw(st.integers(0, len(widths) - 1)), draw(st.integers(0, len(widths) - 1))
            if kind in ("add", "multiply") and widths[one] != widths[two]:
                kind = "cat"
            if kind == "chunk" and widths[one] % 2:
                kind = "linear"
            width = {
                "cat": widths[one] + widths[two],
                "chunk": widths[one] // 2,
                "linear": draw(st.integers(1, 6)),
            }.get(kind, widths[one])
            norms = [nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d]
            layers.append(
                nn.Linear(widths[one], width, bias=draw(st.booleans()))
                if kind == "linear"
                else draw(st.sampled_from(norms))(width)
            )
            self.plan.append((kind, one, two, draw(functions)))
            widths.append(width)
        self.layers, self.last = nn.ModuleList(layers), nn.Linear(widths[-1], 2)

    def forward(self, x):
        values = [self.layers[0](x)]
        for layer, (kind, one, two, function) in zip(self.layers[1:], self.plan, strict=True):
            a, b = values[one], values[two]
            made = {
                "linear": lambda a, b, layer: layer(a),
                "norm": lambda a, b, layer: layer(a),
                "add": lambda a, b, layer: a + b,
                "multiply": lambda a, b, layer: a * torch.sigmoid(b),
                "cat": lambda a, b, layer: torch.cat([a, b], -1),
                "chunk": lambda a, b, layer: a.chunk(2, -1)[1],
            }[kind](a, b, layer)
            values.append(function(made))
        return self.last(values[-1])


class Convolutional(nn.Module):
    """Convolutions of any kernel, stride, dilation and grouping, norms, residuals, pooling, and a head of one of three
    kinds.
    """

    def __init__(self, draw):
        super().__init__()
        width = 2 * draw(st.integers(1, 3))
        self.stem, self.head = nn.Conv2d(2, width, 3, padding=1), draw(st.sampled_from(["flatten", "mean", "max"]))
        self.function, blocks, self.residual = draw(functions), [], []
        for _ in range(draw(st.integers(1, 3))):
            kernel, groups = draw(st.sampled_from([1, 3, (1, 3), 5])), draw(st.sampled_from([1, 2, width]))
            norm = draw(
                st.sampled_from(
                    [nn.BatchNorm2d(width), nn.GroupNorm(2, width), nn.InstanceNorm2d(width), nn.Identity()]
                )
            )
            stride, dilation = draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([1, 2]))
            padding = "same" if stride == 1 else 2
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(width, width, kernel, stride, padding, dilation, groups, bias=draw(st.booleans())), norm
                )
            )
            self.residual.append(stride == 1 and draw(st.booleans()))
        self.blocks = nn.ModuleList(blocks)
        size = self.features(torch.zeros(1, 2, 12, 10)).shape[1:]
        self.last = nn.Linear(size.numel() if self.head == "flatten" else width, 3)

    def features(self, x):
        x = self.stem(x)
        for block, residual in zip(self.blocks, self.residual, strict=True):
            x = self.function(block(x)) + (x if residual else 0)
        return x

    def forward(self, x):
        x = self.features(x)
        return self.last(
            {"flatten": lambda x: x.flatten(1), "mean": lambda x: x.mean((2, 3)), "max": lambda x: x.amax((-1, -2))}[
                self.head
            ](x)
        )


class Transformer(nn.Module):
    """Blocks of attention and feed-forward, the heads taken apart in one of several ways."""

    def __init__(self, draw):
        super().__init__()
        self.heads, self.depth = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        dim = self.heads * self.depth
        self.way, self.causal, self.first = (
            draw(st.sampled_from(["fused", "heads first", "by hand"])),
            draw(st.booleans()),
            draw(st.booleans()),
        )
        self.into, self.pos = nn.Linear(3, dim), nn.Parameter(torch.randn(1, 5, dim))
        norm = draw(st.sampled_from([nn.LayerNorm, nn.RMSNorm]))
        count = draw(st.integers(1, 2))
        bias = draw(st.booleans())
        self.blocks = nn.ModuleList()
        for _ in range(count):
            attention, forward = (
                [norm(dim), nn.Linear(dim, 3 * dim, bias=bias), nn.Linear(dim, dim)],
                [nn.Linear(dim, 7), nn.Linear(7, dim)],
            )
            self.blocks.append(nn.ModuleList([*attention, norm(dim), *forward]))
        self.function, self.out = draw(functions), nn.Linear(dim, 2)

    def attend(self, qkv):
        n, t, _ = qkv.shape
        if self.way == "heads first":
            q, k, v = qkv.view(n, t, self.heads, 3, self.depth).transpose(1, 2).unbind(3)
        else:
            q, k, v = (part.reshape(n, t, self.heads, self.depth).permute(0, 2, 1, 3) for part in qkv.chunk(3, -1))
        if self.way == "by hand":
            scores = torch.einsum("nhtd,nhsd->nhts", q, k / self.depth**0.5)
            if self.causal:
                scores = torch.where(torch.ones(t, t).tril() > 0, scores, torch.tensor(float("-inf")))
            y = scores.softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return y.transpose(1, 2).flatten(2)

    def forward(self, x):
        x = self.into(x) + self.pos
        for norm1, qkv, proj, norm2, up, down in self.blocks:
            x = x + proj(self.attend(qkv(norm1(x))))
            x = x + down(self.function(up(norm2(x))))
        return self.out(x[:, 0] if self.first else x)


@settings(max_examples=15)
@given(st.data())
def test_dense_networks_drawn_at_random(data):
    assert_laws(shaken(Dense(data.draw)), torch.randn(3, 3))


@settings(max_examples=12)
@given(st.data())
def test_convolutional_networks_drawn_at_random(data):
    assert_laws(shaken(Convolutional(data.draw)), torch.randn(2, 2, 12, 10))


@settings(max_examples=10)
@given(st.data())
def test_transformers_drawn_at_random(data):
    assert_laws(shaken(Transformer(data.draw)), torch.randn(2, 5, 3))
