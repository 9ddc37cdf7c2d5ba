import os

import pytest
import torch

from weightwalk import InputError, devices

CPU = torch.device("cpu")


def test_a_device_is_picked_by_name():
    assert devices.pick("cpu") == CPU
    with pytest.raises(InputError, match="unknown device 'gpu'; known: auto, cpu, cuda"):
        devices.pick("gpu")
    if not torch.cuda.is_available():
        assert devices.pick("auto") == CPU
        with pytest.raises(InputError, match="without CUDA; use --device cpu"):
            devices.pick("cuda:0")


def test_cores_where_the_system_does_not_say_which_may_be_used(monkeypatch):
    assert devices.cores() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert devices.cores() == 7
