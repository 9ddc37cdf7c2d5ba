"""`weightwalk bench` runs; what it says on a busy machine is no test."""

from __future__ import annotations

import json

import pytest

POSITIVE = (
    *(
        "ratio_vs_loop",
        "us_per_inr_step",
        "loop_us_per_inr_step",
        "vmap_us_per_inr_step",
        "gflops",
        "matmul_peak_gflops",
    ),
    *("fraction_of_matmul_peak", "ratio_to_equal_psnr", "steps_to_equal_psnr", "fast_psnr", "nfn_psnr"),
)


def test_fitting_is_measured_side_by_side(call):
    result = call("bench", "fit", "--quick", "--workers", 1, "--json")
    found = json.loads(result.stdout)
    assert list(found["sizes"]) == ["28x28 grey", "32x32 RGB"]
    assert {name: found[name] for name in found["sizes"]["28x28 grey"]} == found["sizes"]["28x28 grey"]
    for size in found["sizes"].values():
        assert all(size[name] > 0 for name in POSITIVE)
        assert size["max_relative_loss_difference"] < 1e-4
        assert size["gflops"] == pytest.approx(1e3 * size["mflop_per_inr_step"] / size["us_per_inr_step"])
        assert size["equal_psnr"] >= size["nfn_psnr"]
    assert (found["workers"], found["quick"]) == (1, True)
    assert "measuring 28x28 grey" in result.stderr


def test_loading_is_measured_side_by_side(call):
    found = json.loads(call("bench", "load", "--quick", "--json").stdout)
    assert found["inrs"] == found["amounts"]["inrs"]
    assert all(
        found[name] > 0 for name in ("inrs_per_second", "pt_inrs_per_second", "ratio", "ms_per_2000_rows", "zoo_mib")
    )
    assert list(found["batches"]) == ["16", "64"]
    for size, waiting in found["batches"].items():
        assert all(milliseconds > 0 for milliseconds in waiting.values())
        for way in ("batch", "loader"):
            share = waiting[f"{way}_ms"] / (waiting[f"{way}_ms"] + waiting["step_ms"])
            assert found[f"{way}_share_{size}"] == pytest.approx(share)
            assert 0 < share <= found["batch_share"] < 1
    assert found["quick"]


def test_reading_large_networks_is_measured(call):
    found = json.loads(call("bench", "scale", "--quick", "--json").stdout)
    assert [each["architecture"] for each in found["networks"]] == ["resnet18", "resnet18", "gpt2", "gpt2"]
    assert all(each["seconds"] > 0 and each["parameters"] > 0 for each in found["networks"])
    assert set(found["exponents"]) == {"resnet18", "gpt2"}
    assert found["quick"]


def test_training_is_measured_side_by_side(call):
    result = call("bench", "train-zoo", "--quick", "--json")
    found = json.loads(result.stdout)
    assert list(found["zoos"]) == [kind + of for kind in ("cnn", "wild-park", "vit") for of in ("", "-published")]
    for zoo in found["zoos"].values():
        assert all(seconds > 0 for seconds in zoo["seconds"].values())
        assert {"trainer", "batched torch, 1", "eager PyTorch"} <= set(zoo["seconds"])
        assert zoo["max_relative_loss_difference"] < 1e-3
        assert zoo["ratio_vs_eager"] == pytest.approx(zoo["seconds"]["eager PyTorch"] / zoo["seconds"]["trainer"])
        assert zoo["fraction_of_matmul_peak"] == pytest.approx(zoo["gflops"] / zoo["matmul_peak_gflops"])
    assert (found["workers"], found["quick"]) == (1, True)
    assert "measuring vit" in result.stderr


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("encode", ("encode_fp32_ratio", "encode_loaded_ratio", "encode_bf16_ratio", "batch1_ratio", "bf16_agreement")),
        ("train", ("train_fp32_ratio", "train_loaded_ratio", "train_bf16_ratio", "small_train_ratio")),
    ],
)
def test_reading_is_measured_beside_the_plain_form(call, command, keys):
    found = json.loads(call("bench", command, "--quick", "--threads", 1, "--shape", "mnist", "--json").stdout)
    assert all(found[key] > 0 for key in (*keys, "bf16_matmul_ratio"))
    assert found["max_relative_difference"] < 1e-4
    loaded = found[f"{command}_loaded_ratio"] / found[f"{command}_fp32_ratio"]
    assert found[f"{command}_loaded_share"] == pytest.approx(loaded)
    assert (found["quick"], found["threads"], found["shape"]) == (True, 1, "mnist")
    if command == "train" and found["train_peak_memory_ratio"] is not None:
        peaks = found["peak_mib"]
        assert found["train_peak_memory_ratio"] == pytest.approx(peaks["ours"] / peaks["plain"])


def test_what_cannot_be_measured(call, tmp_path):
    for arguments, words in (
        (("fit", "--workers", 0), "at least 1 worker"),
        (("fit", "--dataset", "mnist", "--quick"), "folder of the mnist files"),
        (("encode", "--shape", "cifar", "--quick"), "cifar10"),
        (("train", "--threads", 0, "--quick"), "threads"),
        (("load", "--zoo", tmp_path / "nowhere", "--quick"), "nowhere"),
    ):
        result = call("bench", *arguments)
        assert result.exit_code == 2
        assert words in result.stderr
