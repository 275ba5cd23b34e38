"""U+0000, which a hub's JSON may hold (hub-api T13) and Postgres' text and jsonb may not: taken out, and noted."""

import re
from typing import Final

__all__ = ["NUL_ESCAPE", "NUL_REASON", "NUL_REMOVED", "strip_nul"]

NUL_ESCAPE: Final = b"\\u0000"
"""How JSON writes it; a record without these bytes has none."""

NUL_REASON: Final = "nul_removed"
"""The reason of such a record: a note, resolved from the beginning, since its row is stored."""

NUL_REMOVED: Final = "U+0000 was taken out of a text; the row is stored without it"
"""The detail under which such a record is noted in quarantine."""

_NUL: Final = re.compile(rb"((?<!\\)(?:\\\\)*)\\u0000")


def strip_nul(raw: bytes) -> bytes:
    """The JSON without any escaped U+0000; a backslash that is escaped itself starts none."""
    return _NUL.sub(rb"\1", raw)
