import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plc_kernels.spectra.pghi import heapify, pop, push

KEYS = st.lists(st.floats(-1e3, 1e3, width=32), max_size=60)


def popped(keys: np.ndarray, items: np.ndarray, size: int) -> list[tuple[float, int]]:
    out = []
    while size > 0:
        size = pop(keys, items, size)
        out.append((float(keys[size]), int(items[size])))
    return out


@given(values=KEYS)
def test_what_was_pushed_comes_out_in_descending_order_with_its_item(values: list[float]) -> None:
    keys, items = np.empty(60, np.float32), np.empty(60, np.int32)
    size = 0
    for item, key in enumerate(values):
        size = push(keys, items, size, key, item)
    out = popped(keys, items, size)
    assert [key for key, _ in out] == sorted(values, reverse=True)
    assert sorted(item for _, item in out) == list(range(len(values)))
    assert all(values[item] == key for key, item in out)


@given(values=KEYS)
def test_heapify_orders_what_was_written_at_once(values: list[float]) -> None:
    keys = np.array([*values, 0.0], np.float32)
    items = np.arange(keys.size, dtype=np.int32)
    heapify(keys, items, len(values))
    out = popped(keys, items, len(values))
    assert [key for key, _ in out] == sorted(values, reverse=True)
