"""Tasks: what is told of networks, with which loss, which figures, which words; importing this registers them all."""

from weightwalk.tasks.base import TASKS, read_config
from weightwalk.tasks.generalization import task as generalization
from weightwalk.tasks.inr_classification import task as inr_classification
from weightwalk.tasks.inr_editing import task as inr_editing

__all__ = ["TASKS", "generalization", "inr_classification", "inr_editing", "read_config"]
