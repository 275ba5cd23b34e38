from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fc_pipeline.proof.headers import SignedHeader, consensus_of, encoded_vote, read_shard_chunk
from fc_pipeline.proof.protobuf import Malformed, bytes_field, number_field
from fc_pipeline_tests.support.recorded_leaves import recorded_grpc
from fc_pipeline_tests.support.wire_fields import fields_of

VALIDATORS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 8)]
KEYS = [validator.public_key().public_bytes_raw() for validator in VALIDATORS]


def height_field(shard: int, height: int) -> bytes:
    return bytes_field(1, number_field(1, shard) + number_field(2, height))


def block(signers: list[Ed25519PrivateKey], *, shard: int = 1, height: int = 7, root: bytes = b"r" * 20) -> bytes:
    header = height_field(shard, height) + number_field(2, 123) + bytes_field(3, b"p" * 32) + bytes_field(4, root)
    block_hash = blake3(header).digest()
    signatures = b""
    for signer in signers:
        key = signer.public_key().public_bytes_raw()
        vote = encoded_vote(shard, height, 2, block_hash, key)
        signatures += bytes_field(4, bytes_field(1, key) + bytes_field(2, signer.sign(vote)))
    value = bytes_field(3, number_field(1, shard) + bytes_field(2, block_hash))
    commits = height_field(shard, height) + number_field(2, 2) + value + signatures
    return bytes_field(1, header) + bytes_field(2, block_hash) + bytes_field(3, b"") + bytes_field(4, commits)


def test_a_block_is_read_and_proved() -> None:
    chunk = read_shard_chunk(block(VALIDATORS[:5]))
    header = chunk.header
    assert (header.shard, header.height, header.timestamp) == (1, 7, 123)
    assert (header.parent_hash, header.shard_root, chunk.round) == (b"p" * 32, b"r" * 20, 2)
    consensus = consensus_of(chunk, KEYS)
    assert (consensus.signed, consensus.validators, consensus.objections) == (5, 7, ())
    assert consensus.is_proved


@pytest.mark.parametrize(
    ("signers", "validators", "is_proved"), [(5, 7, True), (4, 7, False), (2, 3, False), (3, 4, True)]
)
def test_more_than_two_thirds_have_to_sign(signers: int, validators: int, is_proved: bool) -> None:
    assert consensus_of(read_shard_chunk(block(VALIDATORS[:signers])), KEYS[:validators]).is_proved is is_proved


def test_a_validator_that_signs_twice_counts_once() -> None:
    consensus = consensus_of(read_shard_chunk(block([VALIDATORS[0]] * 5)), KEYS)
    assert (consensus.signed, consensus.is_proved) == (1, False)


def test_without_validators_nothing_is_proved() -> None:
    assert not consensus_of(read_shard_chunk(block([])), []).is_proved


def test_a_stranger_among_the_signers_is_an_objection() -> None:
    consensus = consensus_of(read_shard_chunk(block(VALIDATORS)), KEYS[:6])
    assert consensus.signed == 6
    assert not consensus.is_proved
    assert consensus.objections == (f"{KEYS[6][:4].hex()}… signed and is no validator",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda b: replace(b, encoded=b.encoded.replace(b"r" * 20, b"s" * 20)), "the header hashes to"),
        (lambda b: replace(b, told_hash=bytes(32)), "the block says 00"),
        (lambda b: replace(b, voted_hash=bytes(32)), "the votes are for 00"),
        (lambda b: replace(b, voted_height=8), "the votes are for shard 1 at 8"),
        (lambda b: replace(b, header=replace(b.header, height=8)), "does not hold"),
        (lambda b: replace(b, round=3), "does not hold"),
        (lambda b: replace(b, signatures=(replace(b.signatures[0], signature=bytes(64)),)), "does not hold"),
        (lambda b: replace(b, signatures=(replace(b.signatures[0], signature=b""),)), "does not hold"),
    ],
)
def test_each_change_of_a_signed_block_is_an_objection(change, told: str) -> None:
    changed: SignedHeader = change(read_shard_chunk(block(VALIDATORS)))
    consensus = consensus_of(changed, KEYS)
    assert any(told in objection for objection in consensus.objections), consensus
    assert not consensus.is_proved


@pytest.mark.parametrize("chunk", [b"\x0a\xff", block(VALIDATORS)[:-1], bytes_field(1, b"")[:1], b"\x0b", b"\x08\x01"])
def test_what_is_no_block_is_malformed(chunk: bytes) -> None:
    with pytest.raises(Malformed):
        read_shard_chunk(chunk)


def test_every_recorded_header_is_signed_by_its_validator(shared_fixtures: Path) -> None:
    chunks = [
        read_shard_chunk(chunk)
        for call in recorded_grpc(shared_fixtures)
        if call.method == "GetShardChunks" and call.response is not None
        for chunk in fields_of(call.response)[1]
    ]
    validators = {signature.signer for chunk in chunks for signature in chunk.signatures}
    assert len(chunks) > 20
    assert len(validators) == 1
    for chunk in chunks:
        consensus = consensus_of(chunk, validators)
        assert consensus.is_proved, (chunk.header, consensus)
        assert not consensus_of(replace(chunk, round=chunk.round + 1), validators).is_proved
