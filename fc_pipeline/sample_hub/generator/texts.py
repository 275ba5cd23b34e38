"""Pools of text for generated casts and profiles, already escaped as JSON, with their lengths in bytes."""

import json
import re
from dataclasses import dataclass
from random import Random
from typing import Final

__all__ = ["CHANNEL_URLS", "Piece", "Texts"]

WORDS: Final = re.findall(
    r"\w+",
    "gm just shipped the new frame and it works on mobile now who else is building onchain today I think protocols "
    "should be boring permissionless networks win in the long run coffee first then code reading a paper about "
    "consensus my cat disagrees with this take long weekend hike photos soon the feed feels alive tonight thanks for "
    "all the replies testing a new client bug report incoming please be kind to each other what are you working on",
)

PHRASES: Final = (
    "gm \U0001f305",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family time",
    "\U0001f1ef\U0001f1f5 \u6771\u4eac\u306b\u7740\u304d\u307e\u3057\u305f",
    "\u4f60\u597d\uff0c\u4e16\u754c",
    "\uc624\ub298 \ub0a0\uc528\uac00 \uc88b\ub124\uc694",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u202eright to left override\u202c",
    "na\u00efve caf\u00e9, e\u0301 and \u00e9",
    "zero\u200bwidth\u200djoiners\ufeff",
    "tabs\tand\nnew\r\nlines",
    '\'; DROP TABLE casts; -- \\N \\. %s $1 {"a": 1}',
    '"quoted" \\ back\\slash / slash',
    "\ufffd replacement \U0001d518\U0001d52b\U0001d526\U0001d520\U0001d52c\U0001d521\U0001d522",
    "\u0001\u0007 control \u007f",
    "\u20ac100 \u2192 \u00a380 \u00bd",
)

CHANNELS: Final = ("founders", "dev", "art", "food", "japan", "books", "music", "memes", "design", "running")
CHANNEL_URLS: Final = (
    *(f"https://warpcast.com/~/channel/{name}" for name in CHANNELS),
    "chain://eip155:1/erc721:0xc0de00000000000000000000000000000000cafe",
    "chain://eip155:7777777/erc721:0x4f86113fc3e9783cf3ec9a552cbb566716a57628",
    "not a url at all",
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A text as it stands between JSON's quotes, and its length in UTF-8 bytes."""

    escaped: str
    size_bytes: int

    @classmethod
    def of(cls, text: str) -> "Piece":
        """Raw UTF-8, as the hub writes it: only control characters, quote and backslash are escaped (hub-api T13)."""
        return cls(json.dumps(text, ensure_ascii=False)[1:-1], len(text.encode()))


class Texts:
    """Pools made once from the seed, so that choosing a text costs one index."""

    def __init__(self, rng: Random) -> None:
        self.casts = [Piece.of(_sentence(rng, 2, 30)) for _ in range(1500)]
        self.casts += [Piece.of(phrase) for phrase in PHRASES]
        self.casts += [Piece.of(f"{rng.choice(PHRASES)} {_sentence(rng, 2, 10)}") for _ in range(500)]
        self.nul = [Piece.of(f"nul \x00 {_sentence(rng, 2, 6)}") for _ in range(8)]
        self.long = [Piece.of(_sentence(rng, 80, 120)[:1000]) for _ in range(20)]
        self.ten_k = [Piece.of(_sentence(rng, 300, 900)) for _ in range(5)]
        self.short = [Piece.of(_sentence(rng, 1, 4)) for _ in range(200)]
        self.displays = [Piece.of(_sentence(rng, 1, 2).title()[:30]) for _ in range(300)]
        self.displays += [Piece.of("\U0001f3a9 \u5c71\u7530"), Piece.of("\u0645\u062d\u0645\u062f"), Piece.of("")]
        self.bios = [Piece.of(_sentence(rng, 4, 14)) for _ in range(300)] + [Piece.of(p) for p in PHRASES]


def _sentence(rng: Random, fewest: int, most: int) -> str:
    """So many words in a row, cut to what a cast of its type may hold."""
    return " ".join(rng.choices(WORDS, k=rng.randint(fewest, most)))
