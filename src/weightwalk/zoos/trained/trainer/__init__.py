"""The trainer of small networks: `epoch` trains one, `train_many` many of one architecture side by side."""

from weightwalk.zoos.trained.trainer.batched import score_many, train_many
from weightwalk.zoos.trained.trainer.epochs import Mode, choose, epoch, score
from weightwalk.zoos.trained.trainer.settings import OPTIMIZERS, Samples, Trained, Training, begin

__all__ = [
    *("OPTIMIZERS", "Mode", "Samples", "Trained", "Training", "begin"),
    *("choose", "epoch", "score", "score_many", "train_many"),
]
