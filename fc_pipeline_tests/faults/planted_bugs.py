"""Bugs to plant: each a small change of the source that would break a promise, and that some test must notice."""

from dataclasses import dataclass

from fc_pipeline_tests.support.project_copy import Change

__all__ = ["PLANTED_BUGS", "PlantedBug"]


@dataclass(frozen=True)
class PlantedBug:
    """What is wrong, and where."""

    name: str
    changes: tuple[Change, ...]


def bug(name: str, *changes: tuple[str, str, str]) -> PlantedBug:
    return PlantedBug(name, tuple(Change(*change) for change in changes))


PLANTED_BUGS = (
    # The fold.
    bug(
        "cursor before rows",
        (
            "fold/session.py",
            "            self._stage(batch)\n            self._fence(batch)\n",
            "            self._fence(batch)\n"
            "            self._session.execute(ledger.COVER, cover_parameters(batch, self.run_id, 0))\n"
            "            self._session.execute('COMMIT')\n"
            "            self._stage(batch)\n            return self._merge_all(batch)\n",
        ),
    ),
    bug(
        "ledger in a transaction of its own",
        (
            "fold/session.py",
            "        total = sum(w.rows for w in written.values())\n",
            "        total = sum(w.rows for w in written.values())\n        self._session.execute('COMMIT')\n",
        ),
    ),
    bug(
        "the lends of every shard are taken",
        ("fold/changes.py", "        if batch.shard != FIRST_SHARD:\n", "        if False:\n"),
    ),
    bug("embeds outlive their cast", ("store/derived.py", "    if one.kept_by is None:\n", "    if True:\n")),
    bug(
        "messages do not wait for their keys",
        ("fold/merging.py", "        if written.rows:\n", "        if False:\n"),
    ),
    bug("lease not checked", ("fold/session.py", "        if not held:\n", "        if False:\n")),
    bug("quarantine dropped", ("fold/session.py", "        if batch.quarantined:\n", "        if False:\n")),
    bug(
        "activity counted again",
        (
            "fold/session.py",
            "self._fold_again(replace(batch, activity=None), known_tables)",
            "self._fold_again(batch, known_tables)",
        ),
    ),
    bug(
        ">= for > in the merge",
        ("fold/merging.py", 'f"WHERE ({order}) > ({current})', 'f"WHERE ({order}) >= ({current})'),
    ),
    bug(
        "version compare reversed",
        ("fold/merging.py", 'f"WHERE ({order}) > ({current})', 'f"WHERE ({order}) < ({current})'),
    ),
    bug(
        "tombstones of unseen rows dropped",
        (
            "fold/merging.py",
            'f"SELECT {_selected(table)} FROM {stage_name(table)} ORDER BY',
            'f"SELECT {_selected(table)} FROM {stage_name(table)} AS s WHERE deleted_at IS NULL OR EXISTS (SELECT FROM '
            "{table.qualified} AS o WHERE {' AND '.join(f'o.{k} = s.{k}' for k in table.key)}) ORDER BY",
        ),
    ),
    bug(
        "compact states blind to types",
        ("fold/merging.py", "AND (c.type = l.type OR NOT c.scoped) ", ""),
    ),
    bug("compact states mask newer links", ("fold/merging.py", "AND c.timestamp >= l.timestamp ", "")),
    bug(
        "compact state ignored",
        (
            "fold/changes.py",
            "found.compactions.append(link_compactions.merged(message, version, block_micros))",
            "pass",
        ),
    ),
    bug(
        "adds only",
        ("fold/changes.py", "    elif kind in _REMOVES:\n", "    elif kind in _REMOVES and not _REMOVES:\n"),
    ),
    bug(
        "prune ignored",
        (
            "fold/changes.py",
            '_take_away(pruned.message, event.id, Deletion(block_micros, "pruned"), found)',
            "del pruned",
        ),
    ),
    bug(
        "revoke ignored",
        (
            "fold/changes.py",
            '_take_away(revoked.message, event.id, Deletion(block_micros, "revoked"), found)',
            "del revoked",
        ),
    ),
    bug(
        "deletedMessages ignored",
        (
            "fold/changes.py",
            "for gone_message in merge.deletedMessages\n",
            "for gone_message in merge.deletedMessages[:0]\n",
        ),
    ),
    bug(
        "failed merge stored",
        ("fold/changes.py", '        "HUB_EVENT_TYPE_MERGE_FAILURE",\n', ""),
        (
            "fold/changes.py",
            "    match event.type:\n        case",
            "    match event.type:\n"
            '        case "HUB_EVENT_TYPE_MERGE_FAILURE":\n'
            "            _merge(_body(event.mergeFailureBody, event), event.id, block_micros, found)\n"
            "        case",
        ),
        (
            "hub/wire.py",
            "    mergeMessageBody: MergeMessageBody | None = None\n",
            "    mergeMessageBody: MergeMessageBody | None = None\n"
            "    mergeFailureBody: MergeMessageBody | None = None\n",
        ),
    ),
    bug(
        "first of a key instead of the last",
        ("fold/micro_batch.py", "rank[order] = np.arange(len(rows))", "rank[order] = -np.arange(len(rows))"),
        ("fold/micro_batch.py", "wins[order[last.to_numpy()]] = True", "wins[order[-last.to_numpy()]] = True"),
    ),
    bug(
        "hex for the base64 of a cast's remove",
        (
            "tables/message.py",
            "whole_hash(base64_bytes(body.targetHash), body.targetHash)",
            "hash_bytes(body.targetHash)",
        ),
    ),
    bug(
        "names by event id instead of proof time",
        ("tables/username_proofs.py", 'order=("timestamp", "precedence", "version")', 'order=("version",)'),
    ),
    bug(
        "released names kept",
        ("tables/username_proofs.py", "None if body.usernameProof.fid else _released(body.usernameProof)", "None"),
    ),
    # The cursor.
    bug(
        "one cursor for all shards",
        (
            "store/covered_heights.py",
            'WHERE c.shard = CAST(:shard AS integer) "\n    "AND c.tables',
            'WHERE CAST(:shard AS integer) > 0 "\n    "AND c.tables',
        ),
    ),
    bug(
        "a block is taken for whole at the end of a page",
        ("hub/feed.py", "height_of(last_id) + (1 if at_tip else 0)", "height_of(last_id) + 1"),
    ),
    bug(
        "read on behind the next event",
        (
            "hub/page_reader.py",
            "from_event_id if page.last_id is None else page.last_id + 1",
            "from_event_id if page.last_id is None else page.last_id + 2",
        ),
    ),
    bug(
        "short page taken for the tip",
        (
            "hub/page_reader.py",
            "(page.last_id is None or (len(raws) < self._longest_page and _ends_with_block(page)))",
            "True",
        ),
    ),
    bug(
        "holes taken for blocks without events",
        ("hub/feed.py", "        if height in confirmed:\n            return True\n", "        return False\n"),
    ),
    bug(
        "half a block made whole by an empty page",
        ("hub/feed.py", "last_id is None or await reader.ends_block(", "True or await reader.ends_block("),
    ),
    # The client.
    bug(
        "an error taken for the end of the feed",
        (
            "hub/page_reader.py",
            "        return await self._hub.events(self._shard, from_event_id, stop_id, size, retries=retries)\n",
            "        try:\n"
            "            return await self._hub.events(self._shard, from_event_id, stop_id, size, retries=retries)\n"
            "        except HubUnavailable:\n            return []\n",
        ),
    ),
    bug(
        "truncated page taken for whole",
        (
            "hub/broken_page.py",
            "    if opening is None or closing is None:\n        raise MalformedPage(str(error)) from error\n",
            "    if opening is not None and closing is None:\n"
            "        return _records_of(body[opening.end() :])[0][:-1]\n"
            "    if opening is None or closing is None:\n        raise MalformedPage(str(error)) from error\n",
        ),
        (
            "hub/broken_page.py",
            "            depth -= 1\n    raise MalformedPage(str(error)) from error\n",
            '            depth -= 1\n    return items, b""\n',
        ),
    ),
    bug(
        "Retry-After not heeded",
        (
            "hub/client.py",
            "                    self.budget.pause(failure.retry_after_seconds)\n",
            "                    pass\n",
        ),
    ),
    bug(
        "a hub that is behind is followed",
        ("hub/vetting.py", "            if head < cursor:\n", "            if head < 0:\n"),
    ),
    bug(
        "another history is followed",
        (
            "feed/continuity.py",
            "    if found is not None and found != expected:\n",
            "    if found is not None and found != expected and not height:\n",
        ),
    ),
    bug(
        "other shards' events are taken",
        (
            "hub/decode.py",
            "(event.shardIndex != shard or event.blockNumber == 0)",
            "event.blockNumber == 0",
        ),
    ),
    bug(
        "any refusal says that there are no such events",
        ("backfill/fid_records.py", ' or not (refused.detail or "").startswith(_UNKNOWN_VALUE)', ""),
    ),
    bug(
        "a list is left at its first short page",
        (
            "hub/paging.py",
            "    while page.token is not None:\n",
            "    while page.token is not None and len(page.items) >= 9:\n",
        ),
    ),
    bug(
        "a reply does not wait for the fold of its parent",
        ("tables/cast_threads.py", "    one_at_a_time=True,\n", ""),
    ),
    bug(
        "what replies to a late parent keeps its root",
        ("tables/cast_threads.py", "t.root_hash = w.hash AND t.hash <> w.hash", "t.root_hash = w.hash AND false"),
    ),
    bug(
        "what replies to a removed cast keeps its root",
        (
            "tables/cast_threads.py",
            "c.parent_hash = d.hash AND c.deleted_at IS NULL ",
            "c.parent_hash = d.hash AND false ",
        ),
    ),
    bug(
        "a reply to what waits for a cast of the same fold has the missing cast as its root",
        (
            "tables/cast_threads.py",
            "WHEN r.hash IS NOT NULL THEN r.hash END AS after_hash",
            "WHEN r.hash IS NOT NULL THEN NULL END AS after_hash",
        ),
    ),
    bug(
        "a row that becomes a tombstone is still counted",
        ("store/counts.py", '(("added", "+"), ("gone", "-"))),\n    "DELETE"', '(("added", "+"),)),\n    "DELETE"'),
    ),
    bug(
        "changes are told before those that began earlier have ended",
        ("serving/sql/api.sql", "'WHERE t.change_id > $1 AND t.change_id < $2 ", "'WHERE t.change_id > $1 AND $2 > 0 "),
    ),
    bug(
        "an update keeps its change_id",
        (
            "store/change_stamps.py",
            "  NEW.updated_at := now();\n  NEW.change_id := txid_current();\n",
            "  NEW.updated_at := now();\n",
        ),
    ),
)
