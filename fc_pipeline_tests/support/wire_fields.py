"""A protobuf message by its field numbers, read without any schema: what tests hold our own reading against."""

__all__ = ["fields_of", "numbers_of"]


def fields_of(message: bytes) -> dict[int, list]:
    """Field number → its values in order: numbers, or bytes where the field has a length."""
    found: dict[int, list] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            value, at = _varint(message, at)
        elif tag & 7 == 2:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        else:
            raise ValueError(f"wire type {tag & 7} is in none of the recorded messages")
        found.setdefault(tag >> 3, []).append(value)
    return found


def numbers_of(message: bytes) -> dict[int, int]:
    """Field number → the one number it has."""
    return {number: values[0] for number, values in fields_of(message).items()}


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
