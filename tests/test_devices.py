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
