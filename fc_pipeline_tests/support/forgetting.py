"""A release that knows less than this one."""

import pytest

from fc_pipeline.fold import changes
from fc_pipeline.tables import casts, on_chain_events, reactions, user_data, username_proofs, verifications


def forget_values(patch: pytest.MonkeyPatch) -> None:
    """Be a release that knows fewer values."""
    patch.delitem(casts._TYPES, "CAST")
    patch.delitem(reactions._TYPES, "REACTION_TYPE_RECAST")
    patch.delitem(user_data._TYPES, "USER_DATA_TYPE_BIO")
    patch.delitem(verifications._PROTOCOLS, "PROTOCOL_ETHEREUM")
    patch.delitem(username_proofs._TYPES, "USERNAME_TYPE_FNAME")
    patch.delitem(on_chain_events._BODIES, "EVENT_TYPE_ID_REGISTER")


def forget_messages(patch: pytest.MonkeyPatch) -> None:
    """Be a release that knows fewer messages."""
    gone = {"MESSAGE_TYPE_CAST_REMOVE", "MESSAGE_TYPE_LINK_REMOVE", "MESSAGE_TYPE_LINK_COMPACT_STATE"}
    patch.setattr(changes, "OTHER_MESSAGES", changes.OTHER_MESSAGES - gone)
    patch.setattr(changes, "_COMPACT_STATE", "not known yet")
    for one in ("MESSAGE_TYPE_CAST_REMOVE", "MESSAGE_TYPE_LINK_REMOVE"):
        patch.delitem(changes._REMOVES, one)
