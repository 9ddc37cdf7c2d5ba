"""A reader of networks in a plain PyTorch loop: no run, no recipe, no command; a zoo is a data set as any other.

    python examples/plain_loop.py [FOLDER] [EPOCHS]

A zoo is a `torch.utils.data.Dataset`, so a `DataLoader` takes it; a batch is a dictionary whose `weights` are the
networks and whose `label` is what they show. Any encoder turns networks into a vector each, and `nn.Linear` into
classes.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset

from weightwalk import Weights
from weightwalk.encoders import Encoder, EncoderConfig
from weightwalk.training.gradients import gradients
from weightwalk.zoos.inr.fit import fit_zoo, load_sets
from weightwalk.zoos.inr.recipe import FIT_RECIPES
from weightwalk.zoos.store import Zoo


class Reader(nn.Module):
    """An encoder and one linear layer."""

    def __init__(self, encoder: Encoder, classes: int):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.pooled_dim, classes)

    def forward(self, weights: Weights) -> Tensor:
        """Networks (B) to logits (B, classes)."""
        logits: Tensor = self.head(self.encoder(weights).pooled)
        return logits


def main(folder: Path, epochs: int = 20) -> float:
    """Fit 600 digits, train on 420 of the networks, and return the share of 120 others that are told right."""
    fit_zoo(load_sets("digits", None, limit=600), folder, FIT_RECIPES["tiny"], init="shared")
    zoo = Zoo.open(folder)
    torch.manual_seed(0)
    encoder = EncoderConfig.named("statnn").build(zoo.spec)
    encoder.prepare([zoo.weights(zoo.rows("train"))])
    reader = Reader(encoder, len(zoo.label_names))
    optimizer = torch.optim.AdamW(reader.parameters(), lr=1e-2)
    loader = DataLoader(Subset(zoo, zoo.rows("train").tolist()), batch_size=64, shuffle=True)
    for epoch in range(epochs):
        total = 0.0
        for batch in loader:
            optimizer.zero_grad()
            # what `loss.backward()` does, with the networks shared out between this machine's cores
            loss = gradients(reader, lambda part: cross_entropy(reader(part["weights"]), part["label"]), batch)
            optimizer.step()
            total += loss.item() * len(batch["label"])
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: loss {total / len(zoo.rows('train')):.3f}")
    reader.eval()
    right = [(reader(b["weights"]).argmax(1) == b["label"]).float() for b in zoo.batches("test", 256)]
    share = float(torch.cat(right).mean())
    print(f"{100 * share:.1f} % of {len(zoo.rows('test'))} held-out networks are told right")
    return share


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch) / "zoo", *map(int, sys.argv[2:3]))
