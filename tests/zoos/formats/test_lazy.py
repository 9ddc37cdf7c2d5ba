import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weightwalk.zoos.formats.lazy import Lazy

WHOLE = np.random.default_rng(0).normal(size=(9, 2, 3)).astype(np.float32)


def lazy(read: list[int]) -> Lazy:
    """`WHOLE`, row by row; `read` gets the numbers of the rows that are read."""

    def row(number: int) -> np.ndarray:
        read.append(number)
        return WHOLE[number]

    return Lazy(WHOLE.shape, WHOLE.dtype, row)


@given(
    index=st.one_of(
        st.slices(9),
        st.lists(st.integers(-9, 8), min_size=1).map(np.array),
        st.just(np.empty(0, np.int64)),
        st.just(np.arange(9) > 4),
    )
)
def test_an_index_gives_what_it_gives_of_the_array_and_reads_no_more(index):
    read: list[int] = []
    rows = lazy(read)
    np.testing.assert_array_equal(rows[index], WHOLE[index])
    assert read == np.arange(9)[index].tolist()
    assert rows[index].flags.writeable


def test_it_is_its_array_and_the_first_rows_are_read_no_sooner():
    read: list[int] = []
    rows = lazy(read)
    assert (len(rows), len(rows.first(4)), len(rows.first(20)), rows.first(4).shape, read) == (9, 4, 9, (4, 2, 3), [])
    np.testing.assert_array_equal(np.asarray(rows), WHOLE)
    np.testing.assert_array_equal(np.asarray(rows.first(4), np.float64), WHOLE[:4])
