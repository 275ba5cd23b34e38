"""A message's body as the hub's JSON writes it → the values of which its bytes are made (proof.message_schema)."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fc_pipeline.base58 import base58_bytes
from fc_pipeline.proof.message_schema import Field, Form

__all__ = ["values_in"]

_NAMES_OVER_HTTP: Final = {
    "UnitTypeLegacy": "UNIT_TYPE_LEGACY",
    "UnitType2024": "UNIT_TYPE_2024",
    "UnitType2025": "UNIT_TYPE_2025",
}
"""Values of enums that HTTP spells in its own way (protocol-tables 2.2)."""


def values_in(fields: Sequence[Field], body: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name; what is absent or null is None. Raises ValueError for text that is not in a field's form."""
    return {field.name: _field_value(field, body.get(field.name)) for field in fields}


def _field_value(field: Field, value: Any) -> Any:
    if value is None:
        return None
    return [_value(field, one) for one in value] if field.is_repeated else _value(field, value)


def _value(field: Field, value: Any) -> Any:
    if field.fields is not None:
        return values_in(field.fields, value)
    if field.names is not None:
        return _NAMES_OVER_HTTP.get(value, value)
    match field.kind:
        case Form.HEX:
            return _hex_bytes(value)
        case Form.BASE64:
            return b64decode(value, validate=True)
        case Form.ADDRESS:
            return _hex_bytes(value) if value.startswith("0x") else base58_bytes(value)
        case _:
            return value


def _hex_bytes(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))
