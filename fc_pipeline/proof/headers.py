"""Block headers of a shard, and whether the network's validators signed them (node-db 3.4, 5.2).

A header carries `shard_root`, the root of the shard's trie after its block. Its hash is BLAKE3-256 of its encoding,
and what validators sign is a vote for that hash.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from fc_pipeline.proof.ed25519 import is_signed
from fc_pipeline.proof.protobuf import (
    Malformed,
    Value,
    bytes_field,
    bytes_in,
    last_fields,
    number_field,
    number_in,
    read_fields,
)

__all__ = ["Consensus", "Header", "Signature", "SignedHeader", "consensus_of", "encoded_vote", "read_shard_chunk"]

PRECOMMIT: Final = 1
NAMED_KEY_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Header:
    """What a block says of itself; `timestamp` is Farcaster seconds, `shard_root` the 20 bytes of the trie's root."""

    shard: int
    height: int
    timestamp: int
    parent_hash: bytes
    shard_root: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """A validator's Ed25519 signature over its vote."""

    signer: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """A header as it was sent, and the votes that came with it.

    `hash` is computed from `encoded`; `told_hash` is what the block says, `voted_hash`, `voted_shard` and
    `voted_height` what was voted for.
    """

    header: Header
    encoded: bytes
    told_hash: bytes
    voted_shard: int
    voted_height: int
    voted_hash: bytes
    round: int
    signatures: tuple[Signature, ...]

    @property
    def hash(self) -> bytes:
        """BLAKE3-256 of the header's encoding."""
        return blake3(self.encoded).digest()


@dataclass(frozen=True, slots=True)
class Consensus:
    """How many of the validators signed a header, and what speaks against it."""

    signed: int
    validators: int
    objections: tuple[str, ...]

    @property
    def is_proved(self) -> bool:
        """Whether more than two thirds of the validators signed, and nothing speaks against it."""
        return not self.objections and 3 * self.signed > 2 * self.validators


def read_shard_chunk(chunk: bytes) -> SignedHeader:
    """A ShardChunk's header and votes; its transactions are passed over. Raises Malformed."""
    fields = last_fields(chunk)
    encoded = bytes_in(fields, 1)
    header = last_fields(encoded)
    shard, height = _height(header, 1)
    commits_message = bytes_in(fields, 4)
    commits = last_fields(commits_message)
    voted_shard, voted_height = _height(commits, 1)
    value = last_fields(bytes_in(commits, 3))
    if voted_shard != number_in(value, 1):
        raise Malformed(f"a vote of shard {voted_shard} is for a value of shard {number_in(value, 1)}")
    return SignedHeader(
        header=Header(shard, height, number_in(header, 2), bytes_in(header, 3), bytes_in(header, 4)),
        encoded=encoded,
        told_hash=bytes_in(fields, 2),
        voted_shard=voted_shard,
        voted_height=voted_height,
        voted_hash=bytes_in(value, 2),
        round=number_in(commits, 2),
        signatures=tuple(
            _signature(content)
            for number, content in read_fields(commits_message)
            if number == 4 and isinstance(content, bytes)
        ),
    )


def _height(fields: dict[int, Value], number: int) -> tuple[int, int]:
    height = last_fields(bytes_in(fields, number))
    return number_in(height, 1), number_in(height, 2)


def _signature(content: bytes) -> Signature:
    fields = last_fields(content)
    return Signature(bytes_in(fields, 1), bytes_in(fields, 2))


def encoded_vote(shard: int, height: int, round_number: int, block_hash: bytes, voter: bytes) -> bytes:
    """What a validator signs: its precommit of a block, as protobuf without fields that are 0."""
    return b"".join(
        (
            number_field(1, PRECOMMIT),
            bytes_field(2, number_field(1, shard) + number_field(2, height)),
            number_field(3, round_number),
            bytes_field(4, number_field(1, shard) + bytes_field(2, block_hash)),
            bytes_field(5, voter),
        )
    )


def consensus_of(block: SignedHeader, validators: Collection[bytes]) -> Consensus:
    """Whether the header is one that this set of validators (public keys of 32 bytes) agreed on.

    A signer outside of the set, and a signature that does not hold, is an objection even where enough others signed.
    """
    header = block.header
    objections: list[str] = []
    if block.told_hash != block.hash:
        objections.append(f"the header hashes to {block.hash.hex()}, the block says {block.told_hash.hex()}")
    if block.voted_hash != block.hash:
        objections.append(f"the votes are for {block.voted_hash.hex()}, the header hashes to {block.hash.hex()}")
    if (block.voted_shard, block.voted_height) != (header.shard, header.height):
        objections.append(
            f"the votes are for shard {block.voted_shard} at {block.voted_height}, "
            f"the header is of shard {header.shard} at {header.height}"
        )
    signed: set[bytes] = set()
    for vote in block.signatures:
        name = vote.signer[:NAMED_KEY_BYTES].hex()
        encoded = encoded_vote(header.shard, header.height, block.round, block.hash, vote.signer)
        if vote.signer not in validators:
            objections.append(f"{name}… signed and is no validator")
        elif not is_signed(encoded, vote.signature, vote.signer):
            objections.append(f"the signature of {name}… does not hold")
        else:
            signed.add(vote.signer)
    return Consensus(len(signed), len(set(validators)), tuple(objections))
