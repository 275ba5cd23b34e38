"""Snapchain's strict reading of query strings (hub-api 1.2)."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ["BadQuery", "Query"]

_INTEGER: Final = re.compile(r"\+?[0-9]+", re.ASCII)


class BadQuery(ValueError):
    """A parameter that the hub refuses with a plain-text 400."""


class Query:
    """The parameters of one request; a getter takes all accepted spellings, of which the first given wins.

    Unknown parameters are never looked at, so they are ignored; the same key twice raises BadQuery, known or not.
    """

    def __init__(self, query_string: bytes) -> None:
        self._values: dict[str, str] = {}
        for pair in query_string.split(b"&"):
            if not pair:
                continue
            raw_key, _, raw_value = pair.partition(b"=")
            key = _decoded(raw_key)
            if "[" in key and b"[" not in raw_key:
                continue  # encoded brackets do not nest: an unknown key
            if key in self._values:
                raise BadQuery(f'Multiple values for one key: "{key}"')
            self._values[key] = _decoded(raw_value)

    def text(self, *names: str) -> str | None:
        """A string as given, even empty; None when absent."""
        return next((self._values[name] for name in names if name in self._values), None)

    def required_text(self, name: str) -> str:
        """A string that must be there."""
        value = self.text(name)
        if value is None:
            raise BadQuery(f"missing field `{name}`")
        return value

    def integer(self, *names: str, bits: int = 64, empty_is_absent: bool = True) -> int | None:
        """An unsigned integer of so many bits; None when absent or empty."""
        for name in names:
            value = self._values.get(name)
            if value is None or (value == "" and empty_is_absent):
                continue
            return _number(value, bits)
        return None

    def required_integer(self, name: str, *, bits: int = 64) -> int:
        """An unsigned integer that must be there."""
        value = self.integer(name, bits=bits, empty_is_absent=False)
        if value is None:
            raise BadQuery(f"missing field `{name}`")
        return value

    def flag(self, name: str) -> bool:
        """`true` or `false`, nothing else; absent or empty is false."""
        value = self._values.get(name) or "false"
        if value not in ("true", "false"):
            raise BadQuery("provided string was not `true` or `false`")
        return value == "true"

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """One of the names exactly; None when absent or empty."""
        value = self._values.get(name)
        if not value:
            return None
        if value not in choices:
            raise BadQuery(f"unknown variant `{value}`, expected one of {', '.join(f'`{one}`' for one in choices)}")
        return value

    def required_choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of the names, which must be there."""
        value = self.choice(name, choices)
        if value is None:
            raise BadQuery(f"missing field `{name}`")
        return value


def _number(text: str, bits: int) -> int:
    """Raises BadQuery in the node's words."""
    if not text:
        raise BadQuery("cannot parse integer from empty string")
    if not _INTEGER.fullmatch(text):
        raise BadQuery("invalid digit found in string")
    if int(text) >= 2**bits:
        raise BadQuery("number too large to fit in target type")
    return int(text)


def _decoded(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError as error:
        raise BadQuery("could not convert slice to str") from error
