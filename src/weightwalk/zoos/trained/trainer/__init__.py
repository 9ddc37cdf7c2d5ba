"""The trainer of small networks: `epoch` trains one, `train_many` many of one architecture side by side."""

from weightwalk.zoos.trained.trainer.batched import score_many, train_many
from weightwalk.zoos.trained.trainer.epochs import Mode, choose, epoch, score
from weightwalk.zoos.trained.trainer.settings import OPTIMIZERS, Samples, Training, begin

__all__ = ["OPTIMIZERS", "Mode", "Samples", "Training", "begin", "choose", "epoch", "score", "score_many", "train_many"]
