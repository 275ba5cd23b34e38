"""The keys under which a shard's live records stand in its Merkle trie (node-db 3.3).

A key is the FID's five bytes (`fid_prefix`) and then the leaf, what these functions give: a type byte and what tells
the record from others of its kind.
"""

import hashlib

__all__ = [
    "CONTRACT_EVENT_TYPES",
    "FID_PREFIX_BYTES",
    "FNAME_TYPE",
    "LEND_STORAGE_TYPE",
    "MESSAGE_TYPES",
    "contract_event_leaf",
    "fid_prefix",
    "fname_leaf",
    "key_bytes_of_type",
    "leaf_type_name",
    "message_leaf",
    "virtual_shard",
]

FID_PREFIX_BYTES = 5
"""Virtual shard, then the FID's lower 32 bits."""

HASH_BYTES = 20
TRANSACTION_HASH_BYTES = 32
FNAME_BYTES = 20

MESSAGE_TYPES = {
    "CAST_ADD": 1,
    "CAST_REMOVE": 2,
    "REACTION_ADD": 3,
    "REACTION_REMOVE": 4,
    "LINK_ADD": 5,
    "LINK_REMOVE": 6,
    "VERIFICATION_ADD_ETH_ADDRESS": 7,
    "VERIFICATION_REMOVE": 8,
    "USER_DATA_ADD": 11,
    "USERNAME_PROOF": 12,
    "FRAME_ACTION": 13,
    "LINK_COMPACT_STATE": 14,
    "LEND_STORAGE": 15,
    "KEY_ADD": 16,
    "KEY_REMOVE": 17,
    "CHANNEL_UPDATE": 18,
    "CHANNEL_MEMBER": 19,
    "CHANNEL_PIN": 20,
    "CHANNEL_MODERATE": 21,
}
"""MessageType by its name on the wire without `MESSAGE_TYPE_`."""

LEND_STORAGE_TYPE = MESSAGE_TYPES["LEND_STORAGE"]
"""A message of this type has two leaves: the same one under the lender's FID and under the borrower's."""

CONTRACT_EVENT_TYPES = {
    "SIGNER": 1,
    "SIGNER_MIGRATED": 2,
    "ID_REGISTER": 3,
    "STORAGE_RENT": 4,
    "TIER_PURCHASE": 5,
    "CHANNEL_REGISTER": 6,
}
"""OnChainEventType by its name on the wire without `EVENT_TYPE_`."""

MESSAGE_TYPE_SHIFT = 3
"""A message's type byte is its type, shifted out of the range of contract events and fnames."""

FNAME_TYPE = 7


def virtual_shard(fid: int) -> int:
    """The first byte of an FID's keys, 0 to 255."""
    return hashlib.sha256(_fid_bytes(fid)).digest()[3]


def fid_prefix(fid: int) -> bytes:
    """The five bytes with which all keys of an FID begin; FIDs that agree in their lower 32 bits share them."""
    fid_bytes = _fid_bytes(fid)
    return hashlib.sha256(fid_bytes).digest()[3:4] + fid_bytes


def _fid_bytes(fid: int) -> bytes:
    return (fid & 0xFFFFFFFF).to_bytes(4, "big")


def message_leaf(message_type: int, message_hash: bytes) -> bytes:
    """The leaf of a message: 21 bytes. Raises ValueError for a hash of another length."""
    if len(message_hash) != HASH_BYTES:
        raise ValueError(f"a message's hash has {HASH_BYTES} bytes, not {len(message_hash)}")
    return bytes((message_type << MESSAGE_TYPE_SHIFT,)) + message_hash


def contract_event_leaf(event_type: int, transaction_hash: bytes, log_index: int) -> bytes:
    """The leaf of a contract event: 37 bytes. Raises ValueError for a transaction hash of another length."""
    if len(transaction_hash) != TRANSACTION_HASH_BYTES:
        raise ValueError(f"a transaction's hash has {TRANSACTION_HASH_BYTES} bytes, not {len(transaction_hash)}")
    return bytes((event_type,)) + transaction_hash + log_index.to_bytes(4, "big")


def fname_leaf(name: str) -> bytes:
    """The leaf of an fname: 21 bytes. Raises ValueError for a name of more than 20 bytes."""
    name_bytes = name.encode()
    if len(name_bytes) > FNAME_BYTES:
        raise ValueError(f"an fname has at most {FNAME_BYTES} bytes, not {len(name_bytes)}: {name!r}")
    return bytes((FNAME_TYPE,)) + name_bytes.ljust(FNAME_BYTES, b"\0")


def key_bytes_of_type(type_byte: int) -> int:
    """How long the whole keys of this type are."""
    if 0 < type_byte < FNAME_TYPE:
        return FID_PREFIX_BYTES + 1 + TRANSACTION_HASH_BYTES + 4
    return FID_PREFIX_BYTES + 1 + HASH_BYTES


_TYPE_NAMES = {
    FNAME_TYPE: "FNAME",
    **{number: name for name, number in CONTRACT_EVENT_TYPES.items()},
    **{number << MESSAGE_TYPE_SHIFT: name for name, number in MESSAGE_TYPES.items()},
}


def leaf_type_name(type_byte: int) -> str:
    """What the records of a type byte are called on the wire; the number itself where it is of no known type."""
    return _TYPE_NAMES.get(type_byte, f"type {type_byte}")
