"""Rows as the tables hold them are proved from what is stored alone: hash and signature of every recorded message."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fc_pipeline.hub.wire import Message
from fc_pipeline.proof.messages import MessageProver, Verdict
from fc_pipeline.tables.message import Adds
from fc_pipeline.tables.message_claims import claim_of
from fc_pipeline.tables.message_set import MessageSet
from fc_pipeline.tables.registry import MESSAGE_SETS
from fc_pipeline_tests.support.recorded_messages import recorded_messages


def rows_of(messages: list[dict[str, Any]]) -> Iterator[tuple[MessageSet, dict[str, Any]]]:
    """The live rows that these messages become, each with its set."""
    for message_set in MESSAGE_SETS:
        adds = Adds()
        for message in messages:
            if message["data"]["type"] == message_set.add_type:
                message_set.add(adds, msgspec.json.decode(json.dumps(message), type=Message), 1)
        rows, _ = message_set.rows_of(adds)
        for row in rows.to_pylist():
            yield message_set, row


def verdicts(messages: list[dict[str, Any]]) -> Counter[tuple[str, Verdict]]:
    prover = MessageProver()
    return Counter((one.name, prover.verdict(claim_of(one, row))) for one, row in rows_of(messages))


def test_every_message_of_a_recorded_snapchain_node_is_proved(shared_fixtures: Path) -> None:
    found = verdicts(recorded_messages(shared_fixtures / "snapchain"))
    assert {verdict for _, verdict in found} == {Verdict.PROVED}
    assert {name for name, _ in found} == {one.name for one in MESSAGE_SETS}
    assert found.total() > 3_000


def test_every_message_of_a_recorded_hubble_is_proved(shared_fixtures: Path) -> None:
    found = verdicts(recorded_messages(shared_fixtures / "hubble"))
    assert {verdict for _, verdict in found} == {Verdict.PROVED}
    assert found.total() > 1_500


def test_of_real_users_messages_all_but_one_are_proved(shared_fixtures: Path) -> None:
    """The one was signed over bytes of its own (`dataBytes`), which no hub tells over HTTP."""
    found = verdicts(recorded_messages(shared_fixtures / "recorded" / "hub-http" / "pinata-hubble-2024-04"))
    assert {verdict for _, verdict in found} == {Verdict.PROVED, Verdict.NO_ENCODING_HAS_THE_HASH}
    assert sum(count for (_, verdict), count in found.items() if verdict is not Verdict.PROVED) == 1
    assert found.total() > 10_000


@pytest.mark.parametrize("message_set", MESSAGE_SETS, ids=[one.name for one in MESSAGE_SETS])
def test_any_value_that_is_changed_is_noticed(shared_fixtures: Path, message_set: MessageSet) -> None:
    """Whatever column of a proved row is changed, but those that the message does not say."""
    prover = MessageProver()
    not_said = {"version", "block_time", "app_fid", "deleted_reason", "deleted_at", "target"}
    messages = recorded_messages(shared_fixtures / "snapchain")
    noticed: Counter[str] = Counter()
    for one, row in rows_of(messages):
        if one is not message_set:
            continue
        for column, value in row.items():
            if column in not_said or value is None:
                continue
            changed = {**row, column: _another(column, value)}
            assert prover.verdict(claim_of(one, changed)) is not Verdict.PROVED, (column, row)
            noticed[column] += 1
        if noticed.total() > 300:
            break
    assert noticed.keys() >= {"hash", "timestamp", "signer", "signature", message_set.author}


def _another(column: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:] if value else b"x"
    if isinstance(value, int):
        return value + 1
    if isinstance(value, list):
        return [*value, value[0] if value else 1] if column != "embeds_deprecated" else [*value, "x"]
    if isinstance(value, str):
        return '[{"url": "x"}]' if column == "embeds" else value + "x"
    return value.replace(year=value.year + 1, day=1)
