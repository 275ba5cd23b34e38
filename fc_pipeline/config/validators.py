"""The network's validators, whose signatures make a block the network's own.

The operator gives them, never a hub: so what a hub answers can be proved without believing it.
"""

import json
from dataclasses import dataclass
from typing import Final, cast

__all__ = ["UnreadableValidators", "ValidatorSets"]

_KEY_BYTES: Final = 32
_NAMES: Final = frozenset({"effective_at", "shard_ids", "validator_public_keys"})


class UnreadableValidators(ValueError):
    """A text that names no validators; it says why."""


@dataclass(frozen=True, slots=True)
class _Set:
    """Public keys that hold from a height on; `shards` None means all."""

    keys: frozenset[bytes]
    effective_at: int = 0
    shards: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class ValidatorSets:
    """Sets of public keys of 32 bytes, which follow one another by height."""

    sets: tuple[_Set, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sets)

    @classmethod
    def parse(cls, text: str) -> "ValidatorSets":
        """Read keys in hex, separated by commas, or the sets of a node's configuration as a JSON array.

        Raises UnreadableValidators.
        """
        if text.lstrip().startswith("["):
            return cls(tuple(_set(item) for item in _array(text)))
        return cls((_Set(_keys([item.strip() for item in text.split(",") if item.strip()])),))

    def at(self, shard: int, height: int) -> frozenset[bytes]:
        """The keys in force for a block; none where no set is for it."""
        of_shard = [one for one in self.sets if one.shards is None or shard in one.shards]
        begun = [one for one in of_shard if one.effective_at <= height]
        return max(begun, key=lambda one: one.effective_at).keys if begun else frozenset()


def _array(text: str) -> list[object]:
    try:
        return cast(list[object], json.loads(text))
    except ValueError as error:
        raise UnreadableValidators(f"is no JSON: {error}") from error


def _set(item: object) -> _Set:
    if not isinstance(item, dict):
        raise UnreadableValidators(f"has {item!r}, which is no object")
    fields = cast(dict[str, object], item)
    if unknown := sorted(fields.keys() - _NAMES):
        raise UnreadableValidators(f"has a set with {unknown[0]!r}")
    effective_at, shards = fields.get("effective_at", 0), fields.get("shard_ids")
    if not _is_number(effective_at):
        raise UnreadableValidators(f"has a set with effective_at {effective_at!r}")
    if shards is not None and not (isinstance(shards, list) and all(map(_is_number, cast(list[object], shards)))):
        raise UnreadableValidators(f"has a set with shard_ids {shards!r}")
    keys = fields.get("validator_public_keys")
    return _Set(
        _keys(cast(list[object], keys) if isinstance(keys, list) else []),
        cast(int, effective_at),
        None if shards is None else frozenset(cast(list[int], shards)),
    )


def _is_number(value: object) -> bool:
    return type(value) is int and value >= 0


def _keys(items: list[object] | list[str]) -> frozenset[bytes]:
    keys = [_key(item) for item in items]
    if not keys:
        raise UnreadableValidators("has a set without keys")
    if len(set(keys)) < len(keys):
        raise UnreadableValidators("has a key twice")
    return frozenset(keys)


def _key(item: object) -> bytes:
    try:
        key = bytes.fromhex(str(item).removeprefix("0x"))
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise UnreadableValidators(f"has {item!r}, which is no public key of {_KEY_BYTES} bytes in hex")
    return key
