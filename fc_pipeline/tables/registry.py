"""All data tables by name, in the order in which a micro-batch writes them."""

from typing import Final

from fc_pipeline.tables.cast_mentions import MENTIONS
from fc_pipeline.tables.cast_threads import THREADS
from fc_pipeline.tables.casts import CAST_SET
from fc_pipeline.tables.channel_follows import FOLLOWS
from fc_pipeline.tables.channel_members import MEMBER_SET
from fc_pipeline.tables.channel_moderations import MODERATION_SET
from fc_pipeline.tables.channel_pins import PIN_SET
from fc_pipeline.tables.channel_settings import SETTINGS_SET
from fc_pipeline.tables.channels import REGISTRY
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.embeds import CAST_EMBEDS
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS
from fc_pipeline.tables.links import LINK_SET
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.reactions import REACTION_SET
from fc_pipeline.tables.signers import KEYS
from fc_pipeline.tables.storage_lends import LEND_SET
from fc_pipeline.tables.storage_rents import RENTS
from fc_pipeline.tables.tier_purchases import PURCHASES
from fc_pipeline.tables.user_data import USER_DATA_SET
from fc_pipeline.tables.user_profiles import PROFILES
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS
from fc_pipeline.tables.verifications import VERIFICATION_SET

__all__ = [
    "ALL_TABLES",
    "ATTRIBUTED_TABLES",
    "DATA_TABLES",
    "DERIVED_TABLES",
    "LEAF_TABLES",
    "LISTED_TABLES",
    "MESSAGE_SETS",
    "MESSAGE_TABLES",
]

MESSAGE_SETS: Final = (
    CAST_SET,
    REACTION_SET,
    LINK_SET,
    VERIFICATION_SET,
    USER_DATA_SET,
    LEND_SET,
    SETTINGS_SET,
    MEMBER_SET,
    PIN_SET,
    MODERATION_SET,
)
"""The sets of signed messages, in the order in which a hub is asked for those that it lists."""

MESSAGE_TABLES: dict[str, DataTable] = {
    table.name: table for table in (*(one.table for one in MESSAGE_SETS), USERNAME_PROOFS, ON_CHAIN_EVENTS)
}
"""Tables whose rows come straight out of events: the last event per key decides."""

LISTED_TABLES: dict[str, DataTable] = {**MESSAGE_TABLES, GASLESS_KEYS.name: GASLESS_KEYS}
"""Tables whose rows a hub's by-FID answers may bring."""

LEAF_TABLES: Final = ("casts", "reactions", "links", "verifications", "user_data", "on_chain_events")
"""Tables whose live rows are leaves of the trie of the FID's home shard; all other leaves are in `other_leaves`."""

ATTRIBUTED_TABLES: Final = tuple(table for table in MESSAGE_TABLES.values() if "app_fid" in table.looked_up)
"""Tables of messages whose rows say by which app each was signed."""

DERIVED_TABLES: Final = (CAST_EMBEDS, MENTIONS, KEYS, RENTS, PURCHASES, PROFILES, REGISTRY, FOLLOWS, THREADS)
"""Tables that follow from others, in the order in which they are derived."""

DATA_TABLES: dict[str, DataTable] = {
    **MESSAGE_TABLES,
    **{one.name: one.table for one in DERIVED_TABLES},
    FID_ACTIVITY.name: FID_ACTIVITY,
}
"""Every table that is made of the feed; each is an hourly Dagster asset of the same name."""

ALL_TABLES: dict[str, DataTable] = {**LISTED_TABLES, **DATA_TABLES}
"""Every table of schema `public`, derived ones after their sources; each is a Dagster asset of the same name."""
