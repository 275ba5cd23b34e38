"""Schemas `neynar` and `dune` have the tables, columns and types that people's queries are written for."""

import hypothesis
import sqlalchemy as sa
from hypothesis import strategies as st

from fc_pipeline.serving.objects import served_objects
from fc_pipeline_tests.support.folded import FoldedDatabase

TS = "timestamp without time zone"
COMMON = {"id": "uuid", "created_at": TS, "updated_at": TS, "deleted_at": TS}
KEPT = {name: kind for name, kind in COMMON.items() if name != "deleted_at"}
APPS = {"creator_app_fid": "bigint", "deleter_app_fid": "bigint"}

NEYNAR: dict[str, dict[str, str]] = {
    "casts": {
        **COMMON,
        "timestamp": TS,
        "fid": "bigint",
        "hash": "bytea",
        "text": "text",
        "parent_hash": "bytea",
        "parent_fid": "bigint",
        "parent_url": "text",
        "root_parent_hash": "bytea",
        "root_parent_url": "text",
        "embedded_urls": "text[]",
        "embedded_casts": "bytea[]",
        "mentions": "bigint[]",
        "mentions_positions": "smallint[]",
        "ticker_mentions": "text[]",
        "ticker_mentions_positions": "smallint[]",
        "channel_mentions": "text[]",
        "channel_mentions_positions": "smallint[]",
        "embedded_casts_fids": "bigint[]",
        "embeds": "jsonb",
        **APPS,
    },
    "reactions": {
        **COMMON,
        "timestamp": TS,
        "reaction_type": "smallint",
        "fid": "bigint",
        "target_hash": "bytea",
        "target_fid": "bigint",
        "target_url": "text",
        **APPS,
    },
    "follows": {
        **COMMON,
        "timestamp": TS,
        "fid": "bigint",
        "target_fid": "bigint",
        "display_timestamp": TS,
        **APPS,
    },
    "verifications": {
        **COMMON,
        "timestamp": TS,
        "address": "bytea",
        "fid": "bigint",
        "protocol": "smallint",
        "app_fid": "bigint",
    },
    "profiles": {
        **COMMON,
        "fid": "bigint",
        **dict.fromkeys(("bio", "pfp_url", "url", "username", "display_name", "location"), "text"),
        "latitude": "real",
        "longitude": "real",
        "primary_eth_address": "bytea",
        "primary_sol_address": "bytea",
        "banner_url": "text",
        "token_uri": "text",
    },
    "profiles_with_verifications": {
        "profile_id": "uuid",
        "profile_created_at": TS,
        "profile_updated_at": TS,
        "profile_deleted_at": TS,
        "profile_fid": "bigint",
        **dict.fromkeys(("bio", "pfp_url", "url", "profile_username", "display_name", "location"), "text"),
        "latitude": "real",
        "longitude": "real",
        "verifications": "jsonb",
    },
    "usernames": {
        **COMMON,
        "username": "text",
        "fid": "integer",
        "custody_address": "bytea",
        "proof_timestamp": TS,
        "type": "smallint",
    },
    "fids": {
        **KEPT,
        "fid": "integer",
        "custody_address": "bytea",
        "timestamp": TS,
        "recovery_address": "bytea",
        "registered_at": TS,
    },
    "signers": {**COMMON, "timestamp": TS, "fid": "bigint", "app_fid": "bigint", "signer": "bytea"},
    "storage_rentals": {
        **KEPT,
        "fid": "integer",
        "units": "integer",
        "expiry": TS,
        "timestamp": TS,
        "transaction_hash": "bytea",
        "log_index": "integer",
    },
    "tier_purchases": {
        **KEPT,
        "fid": "bigint",
        "tier_type": "integer",
        "duration_in_days": "bigint",
        "payer": "bytea",
        "timestamp": TS,
        "transaction_hash": "bytea",
        "log_index": "integer",
    },
    "follow_counts": {
        "id": "uuid",
        "fid": "bigint",
        "created_at": TS,
        "updated_at": TS,
        "follower_count": "bigint",
        "following_count": "bigint",
        "filtered_follower_count": "bigint",
        "filtered_following_count": "bigint",
    },
    "channels": {
        **COMMON,
        **dict.fromkeys(("channel_id", "url", "description", "image_url"), "text"),
        "lead_fid": "bigint",
        "moderator_fids": "bigint[]",
        "follower_count": "integer",
        "timestamp": TS,
        "name": "text",
        "description_mentions": "bigint[]",
        "description_mentions_positions": "integer[]",
        "member_count": "integer",
        "public_casting": "boolean",
        "external_link_title": "text",
        "external_link_url": "text",
        "header_image_url": "text",
        "pinned_cast_hash": "bytea",
    },
    "channel_follows": {**COMMON, "fid": "bigint", "channel_id": "text", "timestamp": TS},
    "channel_members": {**COMMON, "fid": "bigint", "channel_id": "text", "member_at": TS, "role": "smallint"},
    "neynar_user_scores": {**COMMON, "fid": "bigint", "score": "real"},
    "user_labels": {
        **COMMON,
        "source": "text",
        "provider_fid": "bigint",
        "target_fid": "bigint",
        "label_type": "text",
        "label_value": "text",
        "timestamp": TS,
    },
    "blocks": {**COMMON, "timestamp": TS, "blocker_fid": "bigint", "blocked_fid": "bigint"},
    "profile_external_accounts": {
        **COMMON,
        "timestamp": TS,
        "fid": "bigint",
        "app_fid": "bigint",
        "type": "smallint",
        "account": "text",
    },
}
OF_MESSAGE = {**COMMON, "id": "bigint", "timestamp": TS, "fid": "bigint"}
OF_POWER = {"created_at": TS, "updated_at": TS, "deleted_at": TS, "fid": "bigint"}
DUNE: dict[str, dict[str, str]] = {
    "casts": {
        **OF_MESSAGE,
        "hash": "bytea",
        "parent_hash": "bytea",
        "parent_fid": "bigint",
        "parent_url": "text",
        "text": "text",
        "embeds": "jsonb",
        "mentions": "bigint[]",
        "mentions_positions": "integer[]",
        "root_parent_hash": "bytea",
        "root_parent_url": "text",
    },
    "reactions": {
        **OF_MESSAGE,
        "reaction_type": "smallint",
        "hash": "bytea",
        "target_hash": "bytea",
        "target_fid": "bigint",
        "target_url": "text",
    },
    "links": {**OF_MESSAGE, "target_fid": "bigint", "hash": "bytea", "type": "text", "display_timestamp": TS},
    "verifications": {**OF_MESSAGE, "hash": "bytea", "claim": "jsonb"},
    "user_data": {**OF_MESSAGE, "hash": "bytea", "type": "smallint", "value": "text"},
    "fids": {
        "fid": "bigint",
        "created_at": TS,
        "updated_at": TS,
        "custody_address": "bytea",
        "registered_at": TS,
    },
    "fnames": {
        "fname": "text",
        "created_at": TS,
        "updated_at": TS,
        "deleted_at": TS,
        "custody_address": "bytea",
        "fid": "bigint",
        "expires_at": TS,
        "timestamp": TS,
    },
    "signers": {**OF_MESSAGE, "signer": "bytea", "name": "text", "app_fid": "bigint", "hash": "bytea"},
    "storage": {**OF_MESSAGE, "units": "bigint", "expiry": TS},
    "profile_with_addresses": {
        "fid": "bigint",
        **dict.fromkeys(("fname", "display_name", "avatar_url", "bio"), "text"),
        "verified_addresses": "jsonb",
        "updated_at": TS,
    },
    "warpcast_power_users": OF_POWER,
    "power_users": OF_POWER,
}
KNOWN = {
    **{f"neynar.{name}": columns for name, columns in NEYNAR.items()},
    **{f"dune.dataset_farcaster_{name}": columns for name, columns in DUNE.items()},
}

COLUMNS = """
SELECT n.nspname || '.' || c.relname AS view, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS kind
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname IN ('neynar', 'dune') ORDER BY 1, a.attnum
"""
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(value: bytes) -> str:
    """As Bitcoin and Solana write bytes."""
    number, text = int.from_bytes(value, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return ALPHABET[0] * (len(value) - len(value.lstrip(b"\0"))) + text


def test_tables_columns_and_types_are_as_theirs_in_their_order(replica: FoldedDatabase) -> None:
    found: dict[str, list[tuple[str, str]]] = {}
    for row in replica.rows(COLUMNS):
        found.setdefault(row.view, []).append((row.name, row.kind))
    assert found.keys() == KNOWN.keys()
    for view, columns in KNOWN.items():
        assert found[view] == list(columns.items()), view


def test_what_a_statement_sees_has_these_types(replica: FoldedDatabase) -> None:
    """pg_typeof of what a query gets, which a domain or a wrong cast would change."""
    with replica.engine.connect() as connection:
        for view, columns in KNOWN.items():
            kinds = ", ".join(f'pg_typeof(max_of."{name}")::text' for name in columns)
            # A row of nulls has types, too.
            query = f"SELECT {kinds} FROM (SELECT 1) AS one LEFT JOIN {view} AS max_of ON true LIMIT 1"
            assert list(connection.execute(sa.text(query)).one()) == list(columns.values()), view


def test_what_has_no_source_is_empty_but_there(replica: FoldedDatabase) -> None:
    for view in (
        *("neynar.neynar_user_scores", "neynar.user_labels", "neynar.blocks", "neynar.profile_external_accounts"),
        *("dune.dataset_farcaster_warpcast_power_users", "dune.dataset_farcaster_power_users"),
    ):
        assert replica.rows(f"SELECT * FROM {view}") == []


def test_examples_run(replica: FoldedDatabase) -> None:
    with replica.engine.connect() as connection:
        for one in served_objects():
            if one.schema in ("neynar", "dune") and one.example:
                connection.exec_driver_sql(one.example.replace("%", "%%"))


@hypothesis.settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(values=st.lists(st.binary(max_size=64), min_size=1, max_size=20))
def test_base58_is_read_as_it_is_written(replica: FoldedDatabase, values: list[bytes]) -> None:
    values = [*values, bytes(32), b"\0" * 3 + b"\xff" * 29]
    found = replica.rows(
        "SELECT neynar.base58_bytes(t) AS value FROM unnest(CAST(:texts AS text[])) WITH ORDINALITY AS u (t, n) "
        "ORDER BY n",
        texts=[base58(value) for value in values],
    )
    assert [row.value for row in found] == values


def test_what_is_no_base58_is_null(replica: FoldedDatabase) -> None:
    for text in ("0", "O", "I", "l", "abc ", "é", "1" * 129, "0x12", "a\nb"):
        assert replica.rows("SELECT neynar.base58_bytes(:text) AS value", text=text) == [(None,)], text


def test_addresses_of_either_chain_become_bytes(replica: FoldedDatabase) -> None:
    solana = bytes(range(32))
    found = replica.rows(
        "SELECT pipeline.address_bytes('0xAb01'), pipeline.address_bytes(:solana), pipeline.address_bytes('0xabc')",
        solana=base58(solana),
    )
    assert [tuple(row) for row in found] == [(b"\xab\x01", solana, None)]
