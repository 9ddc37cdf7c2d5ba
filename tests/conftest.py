"""One thread, few and repeatable examples: the suite does many tiny things, on machines that do others besides."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # for what the tests start; before torch is imported
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile(
    "weightwalk",
    deadline=None,
    derandomize=True,
    max_examples=15,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("weightwalk")


@pytest.fixture(autouse=True)
def _seeded():
    """Every test sees torch's global generator in the same state, whatever ran before it."""
    torch.manual_seed(0)
