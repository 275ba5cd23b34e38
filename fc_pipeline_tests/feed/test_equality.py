"""The test of truth: after a run, the live rows are what the hub's by-FID endpoints answer, hash by hash."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.reads import OnChainEventType, ReadEndpoints
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import EventLog, load_log, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.answers import ANSWERS, cast_rows, cast_values, hashed, live_rows
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "events.ndjson.gz"
CHAIN_TYPES: tuple[OnChainEventType, ...] = (
    "EVENT_TYPE_SIGNER",
    "EVENT_TYPE_ID_REGISTER",
    "EVENT_TYPE_STORAGE_RENT",
    "EVENT_TYPE_TIER_PURCHASE",
)
NAME_TYPES = {"fname": "USERNAME_TYPE_FNAME", "ens": "USERNAME_TYPE_ENS_L1", "basename": "USERNAME_TYPE_BASENAME"}


def generated(seed: int, start_unix: int) -> EventLog:
    """Everything that the generator knows."""
    return log_from_lines(
        generate(
            seed,
            fids=60,
            events=9_000,
            events_per_second=40.0,
            start_unix=start_unix,
            huge_fids=True,
            unknown_types=True,
        )
    )


LOGS: dict[str, Callable[[], EventLog]] = {
    "generated": lambda: generated(23, 1_793_491_200),
    "before V19": lambda: generated(24, 1_760_000_000),  # a compact state touched links of all types then
    "sample": lambda: load_log(SAMPLE),
}


@pytest.fixture(scope="module", params=LOGS)
def bench(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workbench]:
    """A replica after one run over all of a log, its hub still there."""
    log = LOGS[request.param]()
    lake = tmp_path_factory.mktemp("lake")
    with serving(log) as url, fresh_database(postgres) as database, workbench(database, lake, url) as made:
        made.run(window=made.missing_span())
        yield made


async def items(pages: AsyncIterator[list[bytes]]) -> list[Any]:
    return [msgspec.json.decode(raw) async for page in pages for raw in page]


def by_fid(bench: Workbench, *names: str) -> dict[str, list[Any]]:
    """All answers of these endpoints, for every FID that the hub knows."""

    async def main() -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {name: [] for name in names}
        async with HubPool(bench.replica.hub_endpoints) as hub:
            for fid in sorted({f for shard in (1, 2) async for page in hub.fids(shard) for f in page}):
                for name in names:
                    found[name] += await answer(hub, name, fid)
        return found

    return asyncio.run(main())


async def answer(hub: ReadEndpoints, name: str, fid: int) -> list[Any]:
    match name:
        case "casts":
            return await items(hub.casts_by_fid(fid))
        case "reactions":
            return await items(hub.reactions_by_fid(fid))
        case "links":
            return await items(hub.links_by_fid(fid))
        case "verifications":
            return await items(hub.verifications_by_fid(fid))
        case "user_data":
            return await items(hub.user_data_by_fid(fid))
        case "proofs":
            return [msgspec.json.decode(raw) for raw in await hub.username_proofs_by_fid(fid)]
        case _:
            return [event for kind in CHAIN_TYPES for event in await items(hub.on_chain_events_by_fid(fid, kind))]


def quarantined(bench: Workbench) -> set[bytes]:
    """Hashes of messages that no table can hold."""
    rows = bench.rows("SELECT raw FROM pipeline.quarantine WHERE reason <> 'nul_removed'")
    merges = [msgspec.json.decode(row.raw).get("mergeMessageBody") for row in rows]
    return {hashed(merge["message"]) for merge in merges if merge}


def test_every_event_was_read(bench: Workbench) -> None:
    rows = bench.rows("SELECT sum(events) AS events, sum(confirmed_events) AS confirmed FROM pipeline.coverage")
    assert rows[0].events == rows[0].confirmed == sum(map(len, bench.logged().values()))
    assert bench.survey().shards[0].holes == bench.survey().shards[1].holes == ()


def test_casts_are_the_hubs(bench: Workbench) -> None:
    answers = by_fid(bench, "casts")["casts"]
    adds = {hashed(m): cast_values(m) for m in answers if m["data"]["type"] == "MESSAGE_TYPE_CAST_ADD"}
    for cast_hash in quarantined(bench) & adds.keys():
        del adds[cast_hash]
    assert cast_rows(bench.tables) == adds
    assert len(adds) > 500


@pytest.mark.parametrize("table", ["reactions", "links", "verifications", "user_data"])
def test_messages_are_the_hubs(bench: Workbench, table: str) -> None:
    _, values_of = ANSWERS[table]
    answers = {hashed(message): values_of(message) for message in by_fid(bench, table)[table]}
    assert live_rows(bench.tables, table) == answers
    assert len(answers) > 20


def test_names_are_the_hubs(bench: Workbench) -> None:
    answers = by_fid(bench, "proofs")["proofs"]
    expected = Counter((p["name"], p["type"], p["fid"], p["owner"], p["timestamp"]) for p in answers)
    rows = bench.rows("SELECT * FROM username_proofs WHERE deleted_at IS NULL")
    found = Counter((r.name, NAME_TYPES[r.type], r.fid, r.owner, int(r.timestamp.timestamp())) for r in rows)
    assert found == expected
    assert {name_type for _, name_type, *_ in found} == set(NAME_TYPES.values())


def test_contract_events_are_the_hubs(bench: Workbench) -> None:
    answers = by_fid(bench, "chain")["chain"]
    expected = {(e["transactionHash"], e["logIndex"], e["type"], e["fid"], e["blockTimestamp"]) for e in answers}
    rows = bench.rows(
        "SELECT transaction_hash, log_index, type, fid, block_timestamp FROM on_chain_events "
        "WHERE 'EVENT_TYPE_' || upper(type) = ANY(:types)",
        types=list(CHAIN_TYPES),
    )
    found = {(f"0x{r[0].hex()}", r[1], f"EVENT_TYPE_{r[2].upper()}", r[3], int(r[4].timestamp())) for r in rows}
    assert found == expected


def test_profiles_are_what_the_hubs_user_data_say(bench: Workbench) -> None:
    columns = {
        "USER_DATA_TYPE_PFP": "pfp_url",
        "USER_DATA_TYPE_DISPLAY": "display_name",
        "USER_DATA_TYPE_BIO": "bio",
        "USER_DATA_TYPE_URL": "url",
        "USER_DATA_TYPE_USERNAME": "username",
        "USER_DATA_TYPE_LOCATION": "location",
        "USER_DATA_TYPE_TWITTER": "twitter",
        "USER_DATA_TYPE_GITHUB": "github",
        "USER_DATA_TYPE_BANNER": "banner_url",
    }
    expected: dict[tuple[int, str], str] = {}
    for message in by_fid(bench, "user_data")["user_data"]:
        body = message["data"]["userDataBody"]
        if body["type"] in columns and body["value"]:
            expected[message["data"]["fid"], columns[body["type"]]] = body["value"].replace("\x00", "")
    rows = bench.rows("SELECT * FROM user_profiles WHERE deleted_at IS NULL")
    found = {(r.fid, name): getattr(r, name) for r in rows for name in columns.values() if getattr(r, name) is not None}
    assert found == expected


def has_nul_to_store(event: Any) -> bool:
    """Whether what is merged holds a NUL; what it displaces is stored nowhere."""
    merge = event.get("mergeMessageBody", {})
    return "\\u0000" in json.dumps([merge.get("message"), event.get("mergeUsernameProofBody")])


def test_quarantine_holds_what_must_be_there_and_nothing_else(bench: Workbench) -> None:
    raws = [raw for events in bench.logged().values() for raw in events]
    with_nul = [raw for raw in raws if b"\\u0000" in raw and has_nul_to_store(msgspec.json.decode(raw))]
    expected = Counter(
        {
            "nul_removed": len(with_nul),
            "unknown_type": sum(b"NOT_YET_INVENTED" in raw for raw in raws),
            "undecodable": sum(b"9223372036854788153" in raw for raw in raws),
        }
    )
    assert Counter(reason for _, _, reason in bench.quarantine()) == +expected
