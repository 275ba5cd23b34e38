"""Text forms of the wire, there and back; anything else is refused."""

import json
from base64 import b64encode
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from fc_pipeline.tables.encoding import (
    UnknownValue,
    base64_bytes,
    farcaster_micros,
    hex_bytes,
    json_text,
    key_bytes,
    key_text,
    named,
    unix_micros,
)


@given(st.binary(max_size=100))
def test_hex_and_base64_come_back(value: bytes) -> None:
    assert hex_bytes("0x" + value.hex()) == value
    assert hex_bytes("0x" + value.hex().upper()) == value
    assert base64_bytes(b64encode(value).decode()) == value


def test_empty_bytes_of_both_dialects() -> None:
    assert hex_bytes("0x") == hex_bytes("") == base64_bytes("") == b""


@pytest.mark.parametrize("text", ["ab", "0xa", "0xzz", "0x ab", "0xab ", "0xa b1", "0X11", "0xàb", " ", "0x0x11"])
def test_what_is_no_hex_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not 0x-hex"):
        hex_bytes(text)


@pytest.mark.parametrize("text", ["YQ", "YQ=", "Y", "YQ==\n", "Y Q==", "YQ==YQ==", "Y-_=", "=", "é", "YQ==="])
def test_what_is_no_padded_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not base64"):
        base64_bytes(text)


@given(st.text(max_size=60))
def test_decoders_either_answer_or_raise_value_error(text: str) -> None:
    for decode in (hex_bytes, base64_bytes):
        with suppress(ValueError):
            assert isinstance(decode(text), bytes)


def test_times_of_both_epochs() -> None:
    assert datetime.fromtimestamp(farcaster_micros(0) / 1e6, UTC) == datetime(2021, 1, 1, tzinfo=UTC)
    assert farcaster_micros(2**32 - 1) == (1_609_459_200 + 2**32 - 1) * 1_000_000
    assert datetime.fromtimestamp(unix_micros(253_402_300_799) / 1e6, UTC).year == 9999
    with pytest.raises(ValueError, match="beyond the year 9999"):
        unix_micros(253_402_300_800)


def test_names_of_enum_values() -> None:
    assert named({"A": "a"}, "A", "letter") == "a"
    with pytest.raises(UnknownValue, match="unknown letter 'B'"):
        named({"A": "a"}, "B", "letter")
    with pytest.raises(UnknownValue) as raised:
        named({}, "x" * 10_000, "letter")
    assert len(str(raised.value)) < 200


@given(st.text(max_size=2_000))
def test_texts_of_keys_are_bounded_in_bytes(text: str) -> None:
    if len(text.encode("utf-8", "surrogatepass")) <= 1024:
        assert key_text(text, "name") == text
    else:
        with pytest.raises(ValueError, match="longer than 1024 bytes"):
            key_text(text, "name")


def test_bytes_of_keys_are_bounded() -> None:
    assert key_bytes(b"x" * 1024, "hash") == b"x" * 1024
    with pytest.raises(ValueError, match="longer than 1024 bytes"):
        key_bytes(b"x" * 1025, "hash")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_is_kept_as_it_came(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    if value is None:
        assert json_text(Raw(text.encode())) is None
    else:
        assert json_text(Raw(text.encode())) == text


def test_absent_json_is_null() -> None:
    assert json_text(Raw()) is None


@pytest.mark.parametrize("text", [b"1e2000", b"[1E-2000]", b"-1e99999999999", b"9" * 5_000, b'"\xff"'])
def test_json_that_jsonb_refuses(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_text(Raw(text))
