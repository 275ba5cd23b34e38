"""What is not loaded: files that are damaged, changed or not whole, and a database that is not empty."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from fc_pipeline.bootstrap.run import Bootstrap
from fc_pipeline.errors import ConfigError, LoadUnderWay, NodeDatabaseError
from fc_pipeline.store.advisory_locks import LOADING, attempted
from fc_pipeline_tests.support.node_writer import NodeWriter, Stored, home_of
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

SHARDS = 2
FIDS = range(1, 9)


def cast(fid: int, number: int) -> Stored:
    body = {"text": f"cast {number} of {fid}", "mentions": [], "mentionsPositions": [], "embeds": [], "type": "CAST"}
    return Stored("CAST_ADD", fid, 100_000_000 + number, body)


def node(path: Path, change: Callable[[dict[int, NodeWriter]], None] = lambda writers: None) -> Path:
    writers = {shard: NodeWriter(path / f"shard-{shard}", shard) for shard in range(1, SHARDS + 1)}
    for fid in FIDS:
        writer = writers[home_of(fid, SHARDS)]
        writer.registered(fid)
        writer.name(f"user{fid}", fid, 1_700_000_000 + fid)
        for number in range(5):
            writer.message(cast(fid, number))
    change(writers)
    for writer in writers.values():
        writer.finish()
    return path


@pytest.fixture
def bench(database: Database, lake: Path) -> "Workbench":
    with workbench(database, lake, "http://127.0.0.1:9") as opened:
        yield opened


def edited(folder: Path, edit: Callable[[Rdict], None]) -> None:
    database = Rdict(str(folder), Options(raw_mode=True))
    edit(database)
    database.flush()
    database.close()
    (folder / "rocksdict-config.json").unlink(missing_ok=True)


def messages(database: Rdict) -> list[tuple[bytes, bytes]]:
    return [(key, value) for key, value in database.items(from_key=b"\x03") if key[:1] == b"\x03"]


def lose_a_message(database: Rdict) -> None:
    del database[messages(database)[3][0]]


def invent_a_message(database: Rdict) -> None:
    """One of another user's: its hash is right, and so is its place."""
    key, value = messages(database)[0]
    database[key[:-1] + bytes((key[-1] ^ 1,))] = value


def change_a_text(database: Rdict) -> None:
    key, value = messages(database)[2]
    database[key] = value.replace(b"cast", b"cost")


def lose_a_contract_event(database: Rdict) -> None:
    key = next(key for key, _ in database.items(from_key=b"\x0c\x01"))
    del database[key]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lose_a_message, "rows and trie say different things: CAST_ADD"),
        (invent_a_message, "the same key twice"),
        (change_a_text, "has not the content of which that is the hash"),
        (lose_a_contract_event, "rows and trie say different things: ID_REGISTER"),
    ],
)
def test_a_record_that_the_trie_does_not_have_so_is_refused(
    bench: Workbench, tmp_path: Path, edit: Callable[[Rdict], None], says: str
) -> None:
    path = node(tmp_path / "node")
    edited(path / f"shard-{home_of(3, SHARDS)}", edit)
    with pytest.raises(NodeDatabaseError, match=says):
        Bootstrap(bench.replica, path, "load", 1).execute()
    assert bench.rows("SELECT count(*) FROM pipeline.bulk_load WHERE finished_at IS NULL") == [(1,)]


def test_a_trie_of_another_state_than_the_header_is_refused(bench: Workbench, tmp_path: Path) -> None:
    """Rows and trie agree with one another, and not with what the validators signed."""
    path, other = node(tmp_path / "node"), node(tmp_path / "other", lambda w: w[1].name("late", 1, 1_800_000_000))
    newest = b"\x02" + (100).to_bytes(8, "big")
    foreign = Rdict(str(other / "shard-1"), Options(raw_mode=True))
    header = foreign[newest]
    foreign.close()
    edited(path / "shard-1", lambda database: database.put(newest, header))
    with pytest.raises(NodeDatabaseError, match="what was read has the root"):
        Bootstrap(bench.replica, path, "load", 1).execute()


def test_leaves_of_which_no_row_tells_are_taken_from_the_trie(bench: Workbench, tmp_path: Path) -> None:
    """A key that gave itself up, also of a user of whom nothing else is known, and a name that was proved anew."""
    given_up = bytes((17 << 3,)) + b"\7" * 20
    renewed = 5

    def change(writers: dict[int, NodeWriter]) -> None:
        for writer in writers.values():
            writer.leaf(3, given_up)
            writer.leaf(77, given_up)
        writers[home_of(renewed, SHARDS)].without_leaf(renewed, b"\7" + b"user5".ljust(20, b"\0"))

    Bootstrap(bench.replica, node(tmp_path / "node", change), "load", 1).execute()
    told = bench.rows("SELECT shard, fid FROM pipeline.other_leaves WHERE leaf = :leaf ORDER BY 1, 2", leaf=given_up)
    assert [tuple(row) for row in told] == [(1, 3), (1, 77), (2, 3), (2, 77)]
    names = bench.rows("SELECT fid FROM pipeline.other_leaves WHERE get_byte(leaf, 0) = 7 ORDER BY 1")
    assert [row[0] for row in names] == [fid for fid in FIDS if fid != renewed]
    assert bench.rows("SELECT count(*) FROM username_proofs WHERE deleted_at IS NULL") == [(len(FIDS),)]


def test_the_newest_proof_of_a_name_counts_over_all_shards(bench: Workbench, tmp_path: Path) -> None:
    def change(writers: dict[int, NodeWriter]) -> None:
        writers[1].name("moved", 1, 1_700_000_100)
        writers[2].name("moved", 2, 1_700_000_200)
        writers[1].name("released", 1, 1_700_000_100)
        writers[2].name("released", 0, 1_700_000_200)

    Bootstrap(bench.replica, node(tmp_path / "node", change), "load", 1).execute()
    found = bench.rows("SELECT name, fid, deleted_reason FROM username_proofs WHERE name IN ('moved', 'released')")
    assert sorted(map(tuple, found)) == [("moved", 2, None), ("released", None, "released")]


def test_a_database_with_rows_is_not_loaded_into(bench: Workbench, tmp_path: Path) -> None:
    path = node(tmp_path / "node")
    first = Bootstrap(bench.replica, path, "load", 1).execute()
    again = Bootstrap(bench.replica, path, "again", 1).execute()
    assert (again.shards, again.leaves) == (first.shards, first.leaves)
    other = node(tmp_path / "other", lambda writers: writers[1].name("late", 1, 1_800_000_000))
    with pytest.raises(ConfigError, match="the database is not empty") as refusal:
        Bootstrap(bench.replica, other, "other", 1).execute()
    assert "FC_POSTGRES_URL" in str(refusal.value)


def test_two_at_a_time_exclude_each_other(bench: Workbench, tmp_path: Path) -> None:
    path = node(tmp_path / "node")
    with (
        attempted(bench.replica.engine, LOADING),
        pytest.raises(LoadUnderWay, match="another process is loading"),
    ):
        Bootstrap(bench.replica, path, "load", 1).execute()
    Bootstrap(bench.replica, path, "load", 1).execute()


def test_the_last_shards_missing_folder_is_noticed(bench: Workbench, tmp_path: Path) -> None:
    writer = NodeWriter(tmp_path / "half" / "shard-1", 1)
    for fid in range(1, 60):
        if home_of(fid, SHARDS) == 1:
            writer.registered(fid)
    writer.finish()
    with pytest.raises(NodeDatabaseError, match="a network with 2 shards, and 1 is here"):
        Bootstrap(bench.replica, tmp_path / "half", "load", 1).execute()


def test_a_folder_without_every_shard_is_refused(bench: Workbench, tmp_path: Path) -> None:
    path = node(tmp_path / "node")
    (path / "shard-1").rename(tmp_path / "elsewhere")
    with pytest.raises(NodeDatabaseError, match="not all up to 2"):
        Bootstrap(bench.replica, path, "load", 1).execute()
    with pytest.raises(NodeDatabaseError, match="has no database"):
        Bootstrap(bench.replica, tmp_path / "nothing here", "load", 1).execute()


def test_files_of_another_block_begin_the_load_anew(bench: Workbench, tmp_path: Path) -> None:
    """As of a node that went on after the first attempt."""
    damaged = node(tmp_path / "damaged")
    edited(damaged / "shard-2", lose_a_message)
    with pytest.raises(NodeDatabaseError):
        Bootstrap(bench.replica, damaged, "load", 1).execute()

    def later(writers: dict[int, NodeWriter]) -> None:
        for writer in writers.values():
            writer.height += 7

    outcome = Bootstrap(bench.replica, node(tmp_path / "later", later), "load", 1).execute()
    assert [one.height for one in outcome.shards] == [107, 107]
    assert bench.rows("SELECT count(*) FROM casts") == [(5 * len(FIDS),)]
