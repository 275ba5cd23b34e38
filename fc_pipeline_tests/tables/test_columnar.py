"""Columns made of whole lists hold what value by value gives, and name the same rows that cannot be written."""

import base64
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.tables.columnar import (
    Rejects,
    base64_column,
    binary_column,
    fixed_rows,
    hash_column,
    hex_column,
    key_text_column,
    named_column,
    spread,
    time_column,
)
from fc_pipeline.tables.encoding import (
    UnknownValue,
    base64_bytes,
    farcaster_micros,
    hash_bytes,
    hex_bytes,
    key_text,
    named,
)

hashes = st.binary(min_size=20, max_size=20).map(lambda value: "0x" + value.hex())
signatures = st.binary(min_size=64, max_size=64).map(lambda value: base64.b64encode(value).decode())
odd = st.sampled_from(
    ("", "0x", "0xabc", "0x" + "zz" * 20, "ab" * 21, "0x" + " a" * 20, "0x" + "é" * 40, "=" * 88, "A" * 88, "A=" * 44)
)


def one_by_one(texts: list[str], convert: Callable[[str], Any]) -> tuple[list[Any], set[int]]:
    """The values, null where one is refused, and the refused rows."""
    values: list[Any] = []
    refused: set[int] = set()
    for row, text in enumerate(texts):
        try:
            values.append(convert(text))
        except ValueError:
            values.append(None)
            refused.add(row)
    return values, refused


@pytest.mark.parametrize(
    ("column", "convert", "regular"),
    [
        (hex_column, hex_bytes, hashes),
        (hash_column, hash_bytes, hashes),
        (base64_column, base64_bytes, signatures),
    ],
    ids=["hex", "hash", "base64"],
)
@given(data=st.data())
def test_bytes_of_a_list_are_those_of_its_values(
    column: Callable[[list[str], Rejects], Any],
    convert: Callable[[str], bytes],
    regular: st.SearchStrategy[str],
    data: st.DataObject,
) -> None:
    values = regular if data.draw(st.booleans()) else regular | odd | st.text(max_size=3)
    texts = data.draw(st.lists(values, max_size=8))
    rejects = Rejects()
    found = column(texts, rejects)
    expected, refused = one_by_one(texts, convert)
    assert found.to_pylist() == expected
    assert found.type == pa.binary()
    assert set(rejects.reasons) == refused


@given(st.lists(st.text(max_size=3) | st.just("x" * 1025) | st.just("é" * 600), max_size=5))
def test_texts_of_keys(texts: list[str]) -> None:
    rejects = Rejects()
    expected, refused = one_by_one(texts, lambda text: key_text(text, "name"))
    assert key_text_column(texts, "name", rejects).to_pylist() == expected
    assert set(rejects.reasons) == refused


@given(st.lists(st.sampled_from(("A", "B", "C")), max_size=5))
def test_names_of_enum_values(values: list[str]) -> None:
    rejects = Rejects()
    expected, refused = one_by_one(values, lambda value: named({"A": "a", "B": "b"}, value, "letter"))
    assert named_column({"A": "a", "B": "b"}, values, "letter", rejects).to_pylist() == expected
    assert set(rejects.reasons) == refused
    assert all(isinstance(reason, UnknownValue) for reason in rejects.reasons.values())


@given(st.lists(st.integers(0, 2**32 - 1), max_size=5))
def test_times(seconds: list[int]) -> None:
    found = time_column(seconds)
    assert found.cast(pa.int64()).to_pylist() == [farcaster_micros(each) for each in seconds]
    assert found.type == pa.timestamp("us", tz="UTC")


@given(st.lists(st.none() | hashes | odd, max_size=8))
def test_absent_values_stay_null_and_rows_keep_their_places(texts: list[str | None]) -> None:
    rejects = Rejects()
    found = spread(texts, hash_column, rejects)
    present = [text if text is not None else "0x" + "00" * 20 for text in texts]
    values, refused = one_by_one(present, hash_bytes)
    expected = [None if text is None else value for text, value in zip(texts, values, strict=True)]
    assert found.to_pylist() == expected
    assert set(rejects.reasons) == refused


@given(st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=6), st.integers(0, 5))
def test_rows_of_bytes_come_back_from_a_column_and_from_a_slice_of_it(values: list[bytes], start: int) -> None:
    column = pa.array(values, type=pa.binary()).slice(start)
    rows = fixed_rows(column, 3)
    assert [bytes(row) for row in rows] == values[start:]
    assert binary_column(rows).to_pylist() == values[start:]
