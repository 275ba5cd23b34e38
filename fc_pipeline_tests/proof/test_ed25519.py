import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fc_pipeline.proof.ed25519 import is_signed

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC_KEY = KEY.public_key().public_bytes_raw()
ORDER = 2**252 + 27742317777372353535851937790883648493

# Every encoding of a point whose order divides 8, as libsodium refuses them.
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def test_a_signature_holds_for_its_text_and_key() -> None:
    signature = KEY.sign(b"text")
    assert is_signed(b"text", signature, PUBLIC_KEY)
    assert not is_signed(b"texT", signature, PUBLIC_KEY)
    assert not is_signed(b"text", signature, b"\1" * 32)
    assert not is_signed(b"text", signature[:-1], PUBLIC_KEY)
    assert not is_signed(b"text", signature, PUBLIC_KEY[:-1])
    assert not is_signed(b"text", b"", b"")


def test_a_second_form_of_a_signature_is_refused() -> None:
    signature = KEY.sign(b"text")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    assert not is_signed(b"text", signature[:32] + scalar.to_bytes(32, "little"), PUBLIC_KEY)


@pytest.mark.parametrize("point", [bytes.fromhex(point) for point in SMALL_ORDER])
@pytest.mark.parametrize("sign", [0, 128])
def test_points_of_small_order_sign_nothing(point: bytes, sign: int) -> None:
    point = point[:31] + bytes([point[31] | sign])
    # Lax verification lets the text pass where the hash of it all is a multiple of the key's order.
    neutral = b"\1" + bytes(31)
    assert not any(is_signed(bytes([text]), neutral + bytes(32), point) for text in range(64))
    assert not any(is_signed(bytes([text]), point + bytes(32), point) for text in range(64))
