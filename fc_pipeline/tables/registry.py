"""All data tables by name, in the order in which a micro-batch writes them."""

from typing import Final

from fc_pipeline.tables.casts import CAST_SET
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.links import LINK_SET
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.reactions import REACTION_SET
from fc_pipeline.tables.user_data import USER_DATA_SET
from fc_pipeline.tables.user_profiles import USER_PROFILES
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS
from fc_pipeline.tables.verifications import VERIFICATION_SET

__all__ = ["DATA_TABLES", "MESSAGE_SETS", "MESSAGE_TABLES"]

MESSAGE_SETS: Final = (CAST_SET, REACTION_SET, LINK_SET, VERIFICATION_SET, USER_DATA_SET)
"""The sets of signed messages, in the order in which a hub is asked for them."""

MESSAGE_TABLES: dict[str, DataTable] = {
    table.name: table for table in (*(one.table for one in MESSAGE_SETS), USERNAME_PROOFS, ON_CHAIN_EVENTS)
}
"""Tables whose rows come straight out of events: the last event per key decides."""

DATA_TABLES: dict[str, DataTable] = {
    **MESSAGE_TABLES,
    USER_PROFILES.name: USER_PROFILES,
    FID_ACTIVITY.name: FID_ACTIVITY,
}
"""Every table of schema `public`; each is a Dagster asset of the same name."""
