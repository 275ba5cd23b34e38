"""All messages that hubs were recorded with, folded into Postgres and proved from Postgres alone: no hub is there."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.proof.messages import Verdict
from fc_pipeline.proving.messages import ProvedMessages, prove_sample
from fc_pipeline.tables.registry import MESSAGE_SETS
from fc_pipeline_tests.support.events import FIRST_HEIGHT, blocks_of, merge, micro_batch
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.recorded_messages import recorded_messages
from fc_pipeline_tests.support.recorded_node import recorded_feed

pytestmark = pytest.mark.slow

EVERYTHING = 10**9
"""More messages than there are: all are proved."""
BLOCK_MESSAGES = 1_000
ROW_TYPES = {one.add_type for one in MESSAGE_SETS}

Messages = list[dict[str, Any]]


def all_proved(replica: FoldedDatabase) -> ProvedMessages:
    """What the tables hold by now, row by row."""
    with replica.engine.connect() as connection:
        return prove_sample(connection, EVERYTHING)


def live_hashes(replica: FoldedDatabase) -> set[str]:
    """Of all messages that are rows."""
    return {
        "0x" + row.hash.hex()
        for one in MESSAGE_SETS
        for row in replica.rows(f"SELECT hash FROM {one.table.qualified} WHERE deleted_at IS NULL AND hash IS NOT NULL")
    }


def waves(replica: FoldedDatabase, messages: Messages) -> Iterator[set[str]]:
    """Fold all that has not been a row yet, again and again: of messages of one key only one is a row at a time.

    Gives the hashes that are rows each time.
    """
    left = {message["hash"]: message for message in messages}
    heights = count(FIRST_HEIGHT, 100)
    while left:
        replica.empty()
        listed = list(left.values())
        blocks = blocks_of(
            *([merge(one) for one in listed[at : at + BLOCK_MESSAGES]] for at in range(0, len(listed), BLOCK_MESSAGES)),
            first_height=next(heights),
        )
        with FoldSession(replica.url, "recorded") as session:
            session.fold(micro_batch(blocks))
        hashes = live_hashes(replica)
        assert hashes & left.keys(), f"no row: {sorted(left)[:3]}"
        yield hashes
        left = {one: message for one, message in left.items() if one not in hashes}


@dataclass(frozen=True)
class Expected:
    """How many messages of a recording are proved, which ones are not and why, and which never become a row."""

    proved: int
    exceptions: dict[Verdict, int]
    without_rows: dict[str, int]


RECORDINGS = {
    "snapchain": Expected(
        2_969,
        {Verdict.IS_STORED_WITHOUT_NUL: 147},
        {
            "CAST_REMOVE": 215,
            "REACTION_REMOVE": 204,
            "LINK_REMOVE": 122,
            "VERIFICATION_REMOVE": 31,
            "LINK_COMPACT_STATE": 74,
        },
    ),
    "hubble": Expected(
        1_594,
        {Verdict.IS_STORED_WITHOUT_NUL: 2},
        {
            "CAST_REMOVE": 46,
            "REACTION_REMOVE": 60,
            "LINK_REMOVE": 11,
            "VERIFICATION_REMOVE": 8,
            "LINK_COMPACT_STATE": 2,
            "USERNAME_PROOF": 6,
            "FRAME_ACTION": 1,
        },
    ),
    # One was signed over bytes of its own (`dataBytes`), which no hub tells over HTTP.
    "recorded/hub-http/pinata-hubble-2024-04": Expected(
        15_650, {Verdict.NO_ENCODING_HAS_THE_HASH: 1}, {"CAST_REMOVE": 581}
    ),
    "recorded/hub-http/transcribed": Expected(9, {}, {}),
}


@pytest.mark.parametrize("recording", RECORDINGS)
def test_every_recorded_message_is_proved_from_its_row(
    replica: FoldedDatabase, shared_fixtures: Path, recording: str
) -> None:
    expected = RECORDINGS[recording]
    messages = recorded_messages(shared_fixtures / recording)
    rows = [one for one in messages if one["data"]["type"] in ROW_TYPES]
    verdicts: Counter[Verdict] = Counter()
    for hashes in waves(replica, rows):
        found = all_proved(replica)
        assert found.checked == len(hashes)
        for (_, verdict), number in found.verdicts.items():
            # No contract event is folded here: that hash and signature hold is what is left to say.
            verdicts[Verdict.PROVED if verdict is Verdict.SIGNER_IS_NOT_READ else verdict] += number
    assert verdicts == {Verdict.PROVED: expected.proved, **expected.exceptions}
    assert verdicts.total() == len(rows)
    types = Counter(message["data"]["type"].removeprefix("MESSAGE_TYPE_") for message in messages)
    of_rows = {one.removeprefix("MESSAGE_TYPE_") for one in ROW_TYPES}
    assert {kind: number for kind, number in types.items() if kind not in of_rows} == expected.without_rows


def test_all_that_a_recorded_feed_has_left_is_proved(replica: FoldedDatabase, shared_fixtures: Path) -> None:
    with FoldSession(replica.url, "recorded") as session:
        for shard in (1, 2):
            session.fold(micro_batch(recorded_feed(shared_fixtures, shard), shard=shard, shard_count=2))
    found = all_proved(replica)
    assert found.checked == len(live_hashes(replica))
    of_gasless_keys = found.count(Verdict.SIGNER_IS_NOT_READ)
    assert 0 < of_gasless_keys < 50
    assert found.count(Verdict.IS_STORED_WITHOUT_NUL) == 110
    assert found.proved + of_gasless_keys + 110 == found.checked
