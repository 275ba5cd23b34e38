"""Protobuf classes of signed messages, made of the fields that proof.message_schema declares.

Parsing in C is what makes reading fast: the pure readers of proof.protobuf take some ten times as long.
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from fc_pipeline.proof.message_schema import BODIES, Field, Form

__all__ = ["MESSAGE", "MESSAGE_DATA"]

_FILE: Final = "fc_pipeline/messages.proto"
_TYPES: Final = descriptor_pb2.FieldDescriptorProto
_DATA_NAME: Final = "MessageData"
_MESSAGE_NAME: Final = "Message"


def _file() -> descriptor_pb2.FileDescriptorProto:
    # proto2 tells what was left out from what has its default.
    declared = descriptor_pb2.FileDescriptorProto(name=_FILE, syntax="proto2")
    envelope = declared.message_type.add(name=_MESSAGE_NAME)
    # The hash is over these bytes as they were written, so they are parsed by themselves.
    for number, name, kind in (
        (1, "data", _TYPES.TYPE_BYTES),
        (2, "hash", _TYPES.TYPE_BYTES),
        (4, "signature", _TYPES.TYPE_BYTES),
        (6, "signer", _TYPES.TYPE_BYTES),
        (7, "data_bytes", _TYPES.TYPE_BYTES),
    ):
        envelope.field.add(name=name, number=number, type=kind, label=_TYPES.LABEL_OPTIONAL)
    data = declared.message_type.add(name=_DATA_NAME)
    for number, name in ((1, "type"), (2, "fid"), (3, "timestamp")):
        data.field.add(name=name, number=number, type=_TYPES.TYPE_UINT64, label=_TYPES.LABEL_OPTIONAL)
    for body in {schema.number: schema for schema in BODIES.values()}.values():
        name = _declare(declared, body.name, body.fields)
        data.field.add(
            name=body.name, number=body.number, type=_TYPES.TYPE_MESSAGE, label=_TYPES.LABEL_OPTIONAL, type_name=name
        )
    return declared


def _declare(declared: descriptor_pb2.FileDescriptorProto, name: str, fields: tuple[Field, ...]) -> str:
    """Declare a message with these fields; its full name."""
    made = declared.message_type.add(name=name)
    for field in fields:
        added = made.field.add(
            name=field.name,
            number=field.number,
            type=_type_of(field),
            label=_TYPES.LABEL_REPEATED if field.is_repeated else _TYPES.LABEL_OPTIONAL,
        )
        if field.fields is not None:
            added.type_name = _declare(declared, f"{name}_{field.name}", field.fields)
    return f".{name}"


def _type_of(field: Field) -> "descriptor_pb2.FieldDescriptorProto.Type.ValueType":
    if field.fields is not None:
        return _TYPES.TYPE_MESSAGE
    if field.kind is Form.NUMBER or field.names is not None:
        return _TYPES.TYPE_UINT64
    return _TYPES.TYPE_STRING if field.kind is Form.TEXT else _TYPES.TYPE_BYTES


_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


MESSAGE: Final = _class(_MESSAGE_NAME)
"""Message, whose `data` and `data_bytes` are bytes."""
MESSAGE_DATA: Final = _class(_DATA_NAME)
"""MessageData, with each body under its name in the hub's JSON, and its fields under theirs."""
