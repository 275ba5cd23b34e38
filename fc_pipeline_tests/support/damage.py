"""Rows changed and invented by hand, as somebody with psql does it."""

from fc_pipeline.tables.registry import DATA_TABLES

FEW_IN_SAMPLES = (
    "storage_lends",
    "tier_purchases",
    "channels",
    "channel_settings",
    "channel_pins",
    "channel_moderations",
)
"""Tables of a few rows."""
CHANGED = {
    "casts": "text = 'forged' WHERE deleted_at IS NULL",
    "reactions": "timestamp = '2026-12-01' WHERE deleted_at IS NULL",
    "links": "deleted_at = NULL, deleted_reason = NULL, hash = '\\x00' WHERE true",
    "verifications": "protocol = 'forged' WHERE true",
    "user_data": "value = 'forged' WHERE deleted_at IS NULL",
    "username_proofs": "owner = 'forged' WHERE true",
    "on_chain_events": "body = '{}' WHERE true",
    "storage_lends": "units = units + 1 WHERE deleted_at IS NULL",
    "channel_settings": "name = 'forged' WHERE true",
    "channel_members": "state = 'forged' WHERE true",
    "channel_pins": "cast_hash = '\\x00' WHERE true",
    "channel_moderations": "action = 'forged' WHERE true",
    "embeds": "url = 'forged' WHERE true",
    "cast_mentions": "fid = 0 WHERE true",
    "cast_threads": "depth = depth + 1 WHERE true",
    "signers": "app_fid = 0 WHERE true",
    "storage_rents": "units = units + 1 WHERE true",
    "tier_purchases": "for_days = 0 WHERE true",
    "channels": "channel_key = 'forged' WHERE true",
    "channel_follows": "followed_at = '2026-12-01' WHERE true",
    "user_profiles": "bio = 'forged' WHERE true",
    "fid_activity": "casts = casts + 1 WHERE true",
}
INVENTED = {
    "casts": ("hash", "decode(md5(hash::text), 'hex')"),
    "reactions": ("target", "target || 'x'"),
    "links": ("type", "'forged'"),
    "verifications": ("address", "address || 'x'"),
    "user_data": ("type", "'forged'"),
    "username_proofs": ("name", "name || '-forged'"),
    "on_chain_events": ("log_index", "log_index + 1000000"),
    "storage_lends": ("to_fid", "to_fid + 1000000000"),
    **dict.fromkeys(
        ("channel_settings", "channel_members", "channel_pins", "channel_moderations"),
        ("channel_id", "sha256(channel_id)"),
    ),
    "embeds": ("position", "position + 1000"),
    "cast_mentions": ("mentioned_fid", "mentioned_fid + 1000000000"),
    "cast_threads": ("hash", "decode(md5(hash::text), 'hex')"),
    "signers": ("key", "sha256(key)"),
    "storage_rents": ("log_index", "log_index + 1000000"),
    "tier_purchases": ("log_index", "log_index + 1000000"),
    **dict.fromkeys(("channels", "channel_follows"), ("channel_id", "sha256(channel_id)")),
    "user_profiles": ("fid", "fid + 1000000000"),
    "fid_activity": ("fid", "fid + 1000000000"),
}


def invent(table: str, rows: int) -> str:
    column, value = INVENTED[table]
    names = DATA_TABLES[table].names
    values = ", ".join(value if name == column else name for name in names)
    return f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} ORDER BY version DESC LIMIT {rows}"
