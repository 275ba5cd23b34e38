"""Rows changed and invented by hand, as somebody with psql does it."""

from fc_pipeline.tables.registry import DATA_TABLES

CHANGED = {
    "casts": "text = 'forged' WHERE deleted_at IS NULL",
    "reactions": "timestamp = '2026-12-01' WHERE deleted_at IS NULL",
    "links": "deleted_at = NULL, deleted_reason = NULL, hash = '\\x00' WHERE true",
    "verifications": "protocol = 'forged' WHERE true",
    "user_data": "value = 'forged' WHERE deleted_at IS NULL",
    "username_proofs": "owner = 'forged' WHERE true",
    "on_chain_events": "body = '{}' WHERE true",
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
    "user_profiles": ("fid", "fid + 1000000000"),
    "fid_activity": ("fid", "fid + 1000000000"),
}


def invent(table: str, rows: int) -> str:
    column, value = INVENTED[table]
    names = DATA_TABLES[table].names
    values = ", ".join(value if name == column else name for name in names)
    return f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} ORDER BY version DESC LIMIT {rows}"
