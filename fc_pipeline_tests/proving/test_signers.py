"""A message is proved only if its signer was a key of its FID when it was written; what is not known is told apart."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fc_pipeline.proof.messages import Verdict
from fc_pipeline.proving.messages import ProvedMessages, prove_messages_of, prove_sample
from fc_pipeline.repair.keys import is_anything_due, read_due_keys
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving_hub
from fc_pipeline.sample_hub.signing_keys import gasless_key, registry_key
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.registry import MESSAGE_SETS
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

FIDS = 60
ALL = 1_000_000

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Row:
    """A live cast."""

    fid: int
    hash: bytes
    signer: bytes


@dataclass(frozen=True)
class Tables:
    """Tables within a transaction that is rolled back."""

    connection: sa.Connection

    def execute(self, statement: str, **values: object) -> list[sa.Row]:
        done = self.connection.execute(sa.text(statement), values)
        return list(done) if done.returns_rows else []

    def cast(self, where: str = "true", order: str = "block_time", **values: object) -> Row:
        """The first live cast of a user's first key of the registry, of those that a condition leaves."""
        found = self.execute(
            "SELECT fid, hash, signer FROM casts AS m WHERE deleted_at IS NULL AND text <> '' "
            f"AND NOT EXISTS (SELECT FROM pipeline.quarantine WHERE event_id = version) AND {where} "
            f"ORDER BY {order} LIMIT 1",
            **values,
        )
        return Row(*(bytes(one) if isinstance(one, memoryview) else one for one in found[0]))

    def sign(self, row: Row, key: Ed25519PrivateKey) -> None:
        """Let somebody else have signed the cast, truly."""
        self.execute(
            "UPDATE casts SET signer = :signer, signature = :signature WHERE hash = :hash",
            signer=key.public_key().public_bytes_raw(),
            signature=key.sign(row.hash),
            hash=row.hash,
        )

    def verdict(self, row: Row) -> Verdict:
        """Of all that the user's messages are not proved by, what is said of this one."""
        found = [one.verdict for one in prove_messages_of(self.connection, row.fid).unproved if one.hash == row.hash]
        return found[0] if found else Verdict.PROVED


def messages_of(fid: int) -> Callable[[sa.Connection], ProvedMessages]:
    return lambda connection: prove_messages_of(connection, fid)


@pytest.fixture(scope="module")
def bench(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A replica of three hours of signed messages, some users' keys removed in them; no gasless key is read yet."""
    lines = generate(
        39, fids=FIDS, events=3_000, blocks_per_second=0.05, events_per_second=0.3, gasless_keys=True, signed=True
    )
    with (
        fresh_database(postgres) as database,
        serving_hub(SampleHub(log_from_lines(lines))) as url,
        workbench(database, tmp_path_factory.mktemp("lake"), url) as bench,
    ):
        bench.run()
        yield bench


@pytest.fixture
def tables(bench: Workbench) -> Iterator[Tables]:
    with bench.replica.engine.connect() as connection:
        yield Tables(connection)
        connection.rollback()


def test_gasless_keys_are_not_known_until_they_are_read_and_one_that_is_gone_stays_unknown(bench: Workbench) -> None:
    with bench.replica.engine.connect() as connection:
        before = prove_sample(connection, ALL)
    unread = before.count(Verdict.SIGNER_IS_NOT_READ)
    assert unread > 20
    assert before.proved + unread + before.count(Verdict.IS_STORED_WITHOUT_NUL) == before.checked
    assert not before.is_proved
    assert is_anything_due(bench.replica)
    read_due_keys(bench.replica, "keys")
    with bench.replica.engine.connect() as connection:
        after = prove_sample(connection, ALL)
    given_up = after.count(Verdict.SIGNER_IS_NOT_TOLD)
    assert 0 < given_up < unread
    assert after.proved == before.proved + unread - given_up
    assert after.is_proved
    assert {name for name, _ in after.verdicts} >= {one.name for one in MESSAGE_SETS} - {"channel_moderations"}


def test_messages_of_keys_that_were_removed_since_are_proved(tables: Tables) -> None:
    """They stay (hub-api 7.6), also those of the very block in which the removal was merged."""
    removed = "(SELECT FROM signers AS k WHERE k.fid = m.fid AND k.key = m.signer AND k.removed_at IS NOT NULL)"
    row = tables.cast(f"EXISTS {removed}")
    assert tables.verdict(row) is Verdict.PROVED
    tables.execute("UPDATE casts SET block_time = NULL, version = 0 WHERE hash = :hash", hash=row.hash)
    assert tables.verdict(row) is Verdict.PROVED


def test_another_users_key(tables: Tables) -> None:
    row = tables.cast()
    tables.sign(row, registry_key(row.fid % FIDS + 1, 1).private)
    assert tables.verdict(row) is Verdict.SIGNER_IS_OF_ANOTHER
    assert not prove_messages_of(tables.connection, row.fid).is_proved


@pytest.mark.parametrize("is_of_block", [True, False])
def test_a_key_that_was_removed_before(tables: Tables, is_of_block: bool) -> None:
    """Hours before; of a message that only a by-FID answer told of by its own time."""
    (removed,) = tables.execute(
        "SELECT k.fid, k.key FROM signers AS k WHERE removed_at < (SELECT max(block_time) FROM casts AS m "
        "WHERE m.fid = k.fid AND deleted_at IS NULL) - interval '70 minutes' ORDER BY removed_at LIMIT 1"
    )
    row = tables.cast("fid = :fid", "block_time DESC", fid=removed.fid)
    numbers = range(1, 10)
    key = next(one for n in numbers if (one := registry_key(row.fid, n)).public == "0x" + bytes(removed.key).hex())
    tables.sign(row, key.private)
    if not is_of_block:
        tables.execute("UPDATE casts SET block_time = NULL WHERE hash = :hash", hash=row.hash)
    assert tables.verdict(row) is Verdict.SIGNER_WAS_NO_KEY
    assert not prove_messages_of(tables.connection, row.fid).is_proved


def test_a_removal_counts_from_the_event_that_brought_it(tables: Tables) -> None:
    """A moment after it, a message that was merged later cannot have been."""
    (removed,) = tables.execute(
        "SELECT e.fid, e.body->>'key' AS key, e.version, e.block_timestamp FROM on_chain_events AS e "
        "WHERE type = 'signer' AND body->>'eventType' = 'SIGNER_EVENT_TYPE_REMOVE' AND EXISTS "
        "(SELECT FROM casts AS m WHERE m.fid = e.fid AND m.deleted_at IS NULL) ORDER BY version LIMIT 1"
    )
    row = tables.cast("fid = :fid", fid=removed.fid)
    key = next(one for n in range(1, 10) if (one := registry_key(row.fid, n)).public == removed.key)
    tables.sign(row, key.private)
    move = "UPDATE casts SET block_time = :at, version = :version WHERE hash = :hash"
    for step, verdict in ((1, Verdict.SIGNER_WAS_NO_KEY), (-1, Verdict.PROVED)):
        tables.execute(move, at=removed.block_timestamp, version=removed.version + step, hash=row.hash)
        assert tables.verdict(row) is verdict


def test_a_key_that_was_added_later(tables: Tables) -> None:
    """By its block's time alone: a message may reach the network long after it says that it was made."""
    added = "(SELECT FROM signers AS k WHERE k.fid = m.fid AND k.key <> m.signer AND k.kind = 'onchain' " \
            "AND k.added_at > m.block_time + interval '11 minutes')"  # fmt: skip
    row = tables.cast(f"EXISTS {added}")
    key = registry_key(row.fid, 2)
    tables.sign(row, key.private)
    assert tables.verdict(row) is Verdict.SIGNER_WAS_NO_KEY
    tables.execute("UPDATE casts SET block_time = NULL WHERE hash = :hash", hash=row.hash)
    assert tables.verdict(row) is Verdict.PROVED


def test_an_unknown_key_is_not_called_forged(tables: Tables) -> None:
    """Who read it since is none that hubs tell of; and where only targets are replicated, others' keys are not kept."""
    row = tables.cast()
    tables.sign(row, Ed25519PrivateKey.from_private_bytes(b"x" * 32))
    assert tables.verdict(row) is Verdict.SIGNER_IS_NOT_READ
    assert not prove_messages_of(tables.connection, row.fid).is_proved
    noted = (
        "INSERT INTO pipeline.snapshots (fid, shard, bucket, version, until_id, file, records, requests, fetched_at, "
        "run_id, folded_at) VALUES (:fid, 1, 1, 1, 1, 'file', 1, 1, now(), 'run', now())"
    )
    tables.execute(noted, fid=row.fid)
    assert tables.verdict(row) is Verdict.SIGNER_IS_NOT_TOLD
    assert prove_messages_of(tables.connection, row.fid).is_proved
    tables.execute("UPDATE pipeline.target_set SET mode = 'set'")
    assert tables.verdict(row) is Verdict.SIGNER_IS_NOT_KEPT


def test_a_gasless_key_signs_what_it_may_while_it_is_there(tables: Tables) -> None:
    fid = 11
    key = gasless_key(fid)
    row = tables.cast("fid = :fid", "block_time DESC", fid=fid)
    tables.sign(row, key.private)
    tables.execute("DELETE FROM gasless_keys WHERE fid = :fid", fid=fid)
    tables.execute("DELETE FROM signers WHERE fid = :fid AND kind = 'gasless'", fid=fid)
    insert = (
        "INSERT INTO gasless_keys (fid, key, key_type, scopes, added_at, read_at, removed_at, version) "
        "SELECT fid, :key, 1, ARRAY[:scope], block_time + CAST(:added AS interval), now(), "
        "block_time + CAST(:removed AS interval), 1 FROM casts WHERE hash = :hash"
    )
    for scope, added, removed, verdict in (
        ("MESSAGE_TYPE_CAST_ADD", "-1 hour", None, Verdict.PROVED),
        ("MESSAGE_TYPE_CAST_ADD", "-1 hour", "1 second", Verdict.PROVED),
        ("MESSAGE_TYPE_CAST_ADD", "-1 hour", "-1 second", Verdict.SIGNER_IS_NOT_READ),
        ("MESSAGE_TYPE_CAST_ADD", "1 hour", None, Verdict.SIGNER_IS_NOT_TOLD),
        ("MESSAGE_TYPE_LINK_ADD", "-1 hour", None, Verdict.SIGNER_IS_NOT_TOLD),
    ):
        tables.execute("DELETE FROM gasless_keys WHERE fid = :fid", fid=fid)
        public = bytes.fromhex(key.public[2:])
        tables.execute(insert, key=public, scope=scope, added=added, removed=removed, hash=row.hash)
        assert tables.verdict(row) is verdict, (scope, added, removed)
