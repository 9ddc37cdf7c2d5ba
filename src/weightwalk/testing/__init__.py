"""Helpers for people who add encoders, tasks or formats: tiny inputs, the laws as assertions, and a conformance suite.

    from weightwalk.testing import check_encoder
    check_encoder("mine")

Nothing here needs pytest: a broken law is an `AssertionError` that says where and by how much.
"""

from weightwalk.testing.conformance import check_encoder
from weightwalk.testing.laws import (
    assert_batch_alone,
    assert_captured,
    assert_close,
    assert_equivariant,
    assert_invariant,
    assert_save_load,
    assert_vmap,
)
from weightwalk.testing.tiny import random_weights, tiny_specs, tiny_zoo

__all__ = [
    "assert_batch_alone", "assert_captured", "assert_close", "assert_equivariant", "assert_invariant",
    "assert_save_load", "assert_vmap", "check_encoder", "random_weights", "tiny_specs", "tiny_zoo",
]  # fmt: skip
