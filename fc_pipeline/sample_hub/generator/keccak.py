"""Keccak-256, the hash of contracts (not SHA3-256, whose padding differs): a channel's id is that of its name."""

from typing import Final

__all__ = ["keccak256"]

RATE_BYTES: Final = 136
MASK: Final = 2**64 - 1
ROUND_CONSTANTS: Final = (
    0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000, 0x000000000000808B,
    0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008A, 0x0000000000000088,
    0x0000000080008009, 0x000000008000000A, 0x000000008000808B, 0x800000000000008B, 0x8000000000008089,
    0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800A, 0x800000008000000A,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
)  # fmt: skip


def keccak256(content: bytes) -> bytes:
    """The 32-byte digest."""
    padded = bytearray(content) + b"\x01" + bytes(-(len(content) + 1) % RATE_BYTES)
    padded[-1] |= 0x80
    lanes = [0] * 25
    for start in range(0, len(padded), RATE_BYTES):
        for n in range(RATE_BYTES // 8):
            lanes[n] ^= int.from_bytes(padded[start + 8 * n : start + 8 * n + 8], "little")
        for constant in ROUND_CONSTANTS:
            lanes = _permuted(lanes)
            lanes[0] ^= constant
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def _turned(lane: int, bits: int) -> int:
    return (lane << bits | lane >> (64 - bits)) & MASK


def _permuted(lanes: list[int]) -> list[int]:
    """One round without its constant: theta, rho and pi, chi; lane (x, y) stands at x + 5y."""
    columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
    spread = [columns[x - 1] ^ _turned(columns[(x + 1) % 5], 1) for x in range(5)]
    moved = [0] * 25
    moved[0] = lanes[0] ^ spread[0]
    x, y = 1, 0
    for step in range(24):
        target = y + 5 * ((2 * x + 3 * y) % 5)
        moved[target] = _turned(lanes[x + 5 * y] ^ spread[x], (step + 1) * (step + 2) // 2 % 64)
        x, y = y, (2 * x + 3 * y) % 5
    return [
        moved[x + row] ^ (~moved[(x + 1) % 5 + row] & MASK & moved[(x + 2) % 5 + row])
        for row in range(0, 25, 5)
        for x in range(5)
    ]
