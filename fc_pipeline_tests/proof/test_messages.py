from dataclasses import replace

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fc_pipeline.proof.message_schema import Writing, encoded_data
from fc_pipeline.proof.messages import NETWORKS, Claim, MessageProver, Verdict

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
BODY = {"text": "gm", "parentUrl": "https://farcaster.xyz", "type": "CAST", "mentions": [], "mentionsPositions": []}
PLAIN = Writing()


def signed(writing: Writing = PLAIN, network: int = 1, body: dict = BODY) -> Claim:
    data = encoded_data("CAST_ADD", 7, 123, network, body, writing)
    message_hash = blake3(data).digest(20)
    return Claim("CAST_ADD", 7, 123, [body], message_hash, KEY.public_key().public_bytes_raw(), KEY.sign(message_hash))


@pytest.mark.parametrize("network", NETWORKS.values())
@pytest.mark.parametrize("by_number", [False, True])
@pytest.mark.parametrize("writes_defaults", [False, True])
@pytest.mark.parametrize("writes_empty_numbers", [False, True])
def test_each_way_of_writing_is_found(
    network: int, by_number: bool, writes_defaults: bool, writes_empty_numbers: bool
) -> None:
    claim = signed(Writing(by_number, writes_defaults, writes_empty_numbers), network)
    assert MessageProver().verdict(claim) is Verdict.PROVED


def test_ways_of_writing_differ() -> None:
    ways = {signed(Writing(*choices)).hash for choices in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))}
    assert len(ways) == 4


def test_a_message_of_another_network_is_not_proved() -> None:
    assert MessageProver([NETWORKS["mainnet"]]).verdict(signed(network=3)) is Verdict.NO_ENCODING_HAS_THE_HASH


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"fid": 8}, Verdict.NO_ENCODING_HAS_THE_HASH),
        ({"timestamp": 124}, Verdict.NO_ENCODING_HAS_THE_HASH),
        ({"bodies": [{**BODY, "text": "gm "}]}, Verdict.NO_ENCODING_HAS_THE_HASH),
        ({"bodies": []}, Verdict.NO_ENCODING_HAS_THE_HASH),
        ({"hash": bytes(20)}, Verdict.NO_ENCODING_HAS_THE_HASH),
        ({"signature": bytes(64)}, Verdict.SIGNATURE_DOES_NOT_HOLD),
        ({"signer": b"x" * 32}, Verdict.SIGNATURE_DOES_NOT_HOLD),
        ({"signature": None}, Verdict.SIGNATURE_IS_NOT_STORED),
        ({"hash": None}, Verdict.SIGNATURE_IS_NOT_STORED),
        ({"signer": None}, Verdict.SIGNATURE_IS_NOT_STORED),
    ],
)
def test_what_is_wrong_is_told_apart(change: dict, verdict: Verdict) -> None:
    assert MessageProver().verdict(replace(signed(), **change)) is verdict


def test_one_of_several_bodies_has_to_fit() -> None:
    claim = replace(signed(), bodies=({**BODY, "text": text} for text in ("a", "gm")))
    assert MessageProver().verdict(claim) is Verdict.PROVED
