"""The oracle's tables of contract events and embeds, made of what other tables hold (protocol-tables 1, 2, 4)."""

from base64 import b64decode
from collections import defaultdict
from typing import Any

Json = dict[str, Any]
Row = dict[str, Any]
Key = tuple[Any, ...]
Tables = dict[str, dict[Key, Row]]

ATTRIBUTED = ("casts", "reactions", "links", "verifications", "user_data")
YEAR_SECONDS = 365 * 86_400


def derived_tables(tables: Tables) -> Tables:
    """What follows from casts and contract events; the apps of messages are noted in their own rows."""
    signers = _signers(tables)
    for name in ATTRIBUTED:
        for (fid, *_), row in tables[name].items():
            row["app_fid"] = signers.get((fid, row["signer"]), {}).get("app_fid")
    return {
        "embeds": _embeds(tables),
        "signers": signers,
        "storage_rents": _rents(tables),
        "tier_purchases": _purchases(tables),
    }


def pro_until(tables: Tables, fid: int) -> int | None:
    """When Pro ends: one purchase after the other (protocol-tables 2.4)."""
    ends = 0
    for _, row in _events(tables, "tier_purchase"):
        if row["fid"] == fid and row["body"]["tier_type"] == "Pro":
            ends = max(row["block_timestamp"], ends) + row["body"]["for_days"] * 86_400
    return ends or None


def _events(tables: Tables, kind: str) -> list[tuple[Key, Row]]:
    """The events of a type in the order of their chains."""
    found = [(key, row) for key, row in tables["on_chain_events"].items() if row["type"] == kind]
    return sorted(found, key=lambda item: (item[1]["block_number"], item[0][2]))


def _embeds(tables: Tables) -> dict[Key, Row]:
    made: dict[Key, Row] = {}
    for (fid, cast), row in tables["casts"].items():
        embeds = row["embeds"] or [{"url": url} for url in row["embeds_deprecated"] or ()]
        for position, embed in enumerate(embeds):
            cast_id = embed.get("castId") or {}
            made[cast, position] = {
                "fid": fid,
                "timestamp": row["timestamp"],
                "url": embed.get("url"),
                "cast_fid": cast_id.get("fid"),
                "cast_hash": cast_id["hash"].removeprefix("0x").lower() if cast_id else None,
            }
    return made


def _signers(tables: Tables) -> dict[Key, Row]:
    changes: defaultdict[Key, list[Row]] = defaultdict(list)
    for _, row in _events(tables, "signer"):
        changes[row["fid"], row["body"]["key"].removeprefix("0x").lower()].append(row)
    return {key: _signer(rows) for key, rows in changes.items()}


def _signer(rows: list[Row]) -> Row:
    state: Row = {"kind": "onchain", "key_type": None, "app_fid": None, "added_at": None, "removed_at": None}
    first: Row | None = None
    for row in rows:
        match row["body"]["eventType"].removeprefix("SIGNER_EVENT_TYPE_"):
            case "ADD":
                state = {**state, **_added(row), "removed_at": None}
                first = first or state
            case "REMOVE":
                state = {**state, "removed_at": row["block_timestamp"]}
            case "ADMIN_RESET":
                state = dict(first or state)
    return state


def _added(row: Row) -> Row:
    body = row["body"]
    app_fid = int.from_bytes(b64decode(body["metadata"])[32:64]) if body["metadataType"] == 1 else 0
    return {"key_type": body["keyType"], "app_fid": app_fid or None, "added_at": row["block_timestamp"]}


def _rents(tables: Tables) -> dict[Key, Row]:
    made: dict[Key, Row] = {}
    for key, row in _events(tables, "storage_rent"):
        rented_at = row["block_timestamp"]
        kind, years = (
            ("legacy", 4)
            if rented_at < 1_724_889_600
            else ("2024", 3)
            if rented_at < 1_752_685_200
            else ("2025", 2 if rented_at < 1_782_147_600 else 1)
        )
        made[key] = {
            "fid": row["fid"],
            "payer": row["body"]["payer"],
            "units": row["body"]["units"],
            "unit_type": kind,
            "rented_at": rented_at,
            "expires_at": rented_at + years * YEAR_SECONDS,
            "block_number": row["block_number"],
            "version": row["version"],
        }
    return made


def _purchases(tables: Tables) -> dict[Key, Row]:
    return {
        key: {
            "fid": row["fid"],
            "payer": row["body"]["payer"],
            "tier_type": row["body"]["tier_type"],
            "for_days": row["body"]["for_days"],
            "purchased_at": row["block_timestamp"],
            "block_number": row["block_number"],
            "version": row["version"],
        }
        for key, row in _events(tables, "tier_purchase")
    }
