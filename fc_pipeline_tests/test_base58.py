import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.base58 import base58, base58_bytes


@given(st.binary(max_size=40))
def test_bytes_come_out_as_they_went_in(raw: bytes) -> None:
    assert base58_bytes(base58(raw)) == raw


def test_known_texts() -> None:
    assert base58(b"\0\0Hello World!") == "112NEpo7TZRRrLZSi2U"
    assert base58_bytes("112NEpo7TZRRrLZSi2U") == b"\0\0Hello World!"


def test_other_characters_are_refused() -> None:
    with pytest.raises(ValueError, match="is not base58"):
        base58_bytes("0OIl")
