"""Who signed up through an app: the signer's contract event says which app asked for the key (hub-api 4.3).

Its metadata is the ABI encoding of one tuple (requestFid, requestSigner, signature, deadline): a word that says where
the tuple begins (32), then requestFid as a word, then an address, whose word begins with zeros. The first 66 of these
bytes depend on the app's FID alone, and 66 bytes are 88 characters of base64 exactly.
"""

from base64 import b64encode
from typing import Final

__all__ = ["IS_SIGN_UP", "METADATA_PREFIX_CHARACTERS", "SIGNER_ADDED", "metadata_prefix"]

_WORD_BYTES: Final = 32
_TUPLE_AT: Final = 32
METADATA_PREFIX_CHARACTERS: Final = 88
SIGNER_ADDED: Final = "SIGNER_EVENT_TYPE_ADD"

IS_SIGN_UP: Final = (
    "{event}.type = 'signer' AND {event}.deleted_at IS NULL AND {body}->>'eventType' = '" + SIGNER_ADDED + "' "
    f"AND left({{body}}->>'metadata', {METADATA_PREFIX_CHARACTERS}) = c.metadata_prefix"
)
"""Whether a row `event` of `on_chain_events`, with `body` as jsonb, is a sign-up through the client `c`."""


def metadata_prefix(client_fid: int) -> str:
    """How the metadata (base64) of every signer begins that this app asked for."""
    words = _TUPLE_AT.to_bytes(_WORD_BYTES, "big") + client_fid.to_bytes(_WORD_BYTES, "big")
    return b64encode(words + b"\0\0").decode()
