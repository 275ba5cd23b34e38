from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.proof.leaf_keys import MESSAGE_TYPES
from fc_pipeline.proof.message_schema import BODIES, Field, Form, Writing, encoded_data, read_schema
from fc_pipeline.proof.protobuf import Malformed, bytes_field
from fc_pipeline_tests.support.recorded_leaves import recorded_grpc
from fc_pipeline_tests.support.wire_fields import fields_of

VALUES = {
    Form.NUMBER: st.integers(0, 2**64 - 1),
    Form.TEXT: st.text(max_size=5),
    Form.UTF8: st.text(max_size=5),
    Form.HEX: st.binary(max_size=5),
    Form.BASE64: st.binary(max_size=5),
    Form.ADDRESS: st.binary(max_size=5),
}


def value_of(field: Field) -> st.SearchStrategy:
    if field.names is not None:
        return st.sampled_from([name for name in field.names if name])
    value = body_of(field.fields) if field.fields is not None else VALUES[field.kind]
    if field.is_repeated:
        return st.lists(value, max_size=3)
    return st.none() | value if field.has_presence else value


def body_of(fields: tuple[Field, ...]) -> st.SearchStrategy:
    return st.fixed_dictionaries({field.name: value_of(field) for field in fields})


@given(st.data(), st.sampled_from(sorted(BODIES)), st.builds(Writing, st.booleans(), st.booleans(), st.booleans()))
def test_what_is_written_in_any_way_is_read_again(data: st.DataObject, kind: str, writing: Writing) -> None:
    schema = BODIES[kind]
    body = data.draw(body_of(schema.fields))
    encoded = fields_of(encoded_data(kind, 7, 123, 3, body, writing))
    assert [encoded[number] for number in (1, 2, 3, 4)] == [[schema.message_type], [7], [123], [3]]
    assert read_schema(schema.fields, encoded[schema.number][0]) == body


def test_types_are_those_of_the_leaves() -> None:
    assert {kind: MESSAGE_TYPES[kind] for kind in BODIES} == {kind: body.message_type for kind, body in BODIES.items()}


def messages_over_grpc(fixtures: Path) -> list[dict[int, list]]:
    return [
        fields_of(message)
        for call in recorded_grpc(fixtures)
        if call.method.endswith(("MessagesByFid", "MessageByFid")) and call.response is not None
        for message in fields_of(call.response).get(1, [])
    ]


def test_recorded_messages_are_read_and_written_as_they_were_signed(shared_fixtures: Path) -> None:
    """Removes, compact states and lends, which are in no by-FID answer over HTTP, among them."""
    kinds = {schema.message_type: kind for kind, schema in BODIES.items()}
    seen = set()
    for message in messages_over_grpc(shared_fixtures):
        data = fields_of(message.get(7, message.get(1))[0])
        kind = kinds[data[1][0]]
        schema = BODIES[kind]
        body = read_schema(schema.fields, data[schema.number][0])
        hashes = {
            blake3(encoded_data(kind, data[2][0], data[3][0], data[4][0], body, Writing(by_number))).digest(20)
            for by_number in (False, True)
        }
        assert message[2][0] in hashes, body
        seen.add(kind)
    assert seen >= {"CAST_ADD", "CAST_REMOVE", "REACTION_REMOVE", "LINK_REMOVE", "LINK_COMPACT_STATE", "LEND_STORAGE"}


def test_unpacked_numbers_and_unknown_fields_and_names_are_read() -> None:
    cast = b"\x10\x05\x10\x06" + bytes_field(2, b"\x07\xac\x02") + b"\x40\x09" + bytes_field(99, b"x")
    found = read_schema(BODIES["CAST_ADD"].fields, cast)
    assert (found["mentions"], found["type"], found["text"], found["parentUrl"]) == ([5, 6, 7, 300], 9, "", None)


@pytest.mark.parametrize("cast", [b"\x20\x01", bytes_field(8, b"x"), bytes_field(4, b"\xff"), bytes_field(2, b"\xff")])
def test_values_of_another_kind_are_malformed(cast: bytes) -> None:
    with pytest.raises(Malformed):
        read_schema(BODIES["CAST_ADD"].fields, cast)
