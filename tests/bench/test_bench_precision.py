import pytest

from weightwalk.bench.precision import Agreement


@pytest.mark.usefixtures("one_thread")
def test_a_reader_says_the_same_in_bfloat16():
    found = Agreement(classified=1000, steps=300).measure()
    assert found["bf16_agreement"] >= 0.995
    assert found["fp32_accuracy"] > 0.5
    assert found["bf16_accuracy"] == pytest.approx(found["fp32_accuracy"], abs=0.005)
