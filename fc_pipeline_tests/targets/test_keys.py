"""Keys where only targets are replicated: they say by which app a message was signed as long as they are kept."""

import json
from base64 import b64encode
from datetime import UTC, datetime

from fc_pipeline.fold.selection import TargetAccess
from fc_pipeline.hub.snapshot import KEYS_READ
from fc_pipeline.reconcile.key_folds import KeyFold
from fc_pipeline.reconcile.staging import FidSnapshot
from fc_pipeline.targets import sweep
from fc_pipeline.targets.owner import OwnerSettings
from fc_pipeline_tests.support.events import NOW, cast_add, chain_event, link, merge, merge_chain
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.small_hub import record_batch
from fc_pipeline_tests.targets.test_selection import FRIEND, ROOT, STRANGER, opened

APP = 9152


def test_a_reply_of_who_is_no_target_any_more_forgets_its_app(replica: FoldedDatabase, redis_url: str) -> None:
    """Nothing that is kept says it any more, so that a comparison with the raw log finds nothing wrong."""
    follows = link(ROOT, FRIEND)
    parent = cast_add(ROOT)
    reply = cast_add(FRIEND, parentCastId={"fid": ROOT, "hash": parent["hash"]})
    request = b64encode(b"".join(word.to_bytes(32) for word in (32, APP, 0, 128, 0, 65))).decode()
    key = {"key": reply["signer"], "keyType": 1, "eventType": "SIGNER_EVENT_TYPE_ADD"}
    signed_up = chain_event("signer", FRIEND, {**key, "metadata": request, "metadataType": 1})
    with opened(replica, redis_url, OwnerSettings((ROOT,), ())) as filtered:
        filtered.fold(merge(follows), merge(parent), merge_chain(signed_up), merge(reply))
        filtered.complete()
        assert replica.live("casts", "fid, app_fid") == [(ROOT, None), (FRIEND, APP)]
        filtered.fold(merge(link(ROOT, FRIEND, NOW + 1, add=False), follows))
        sweep.settle_former(replica.engine, "drop")
    assert replica.live("signers", "fid, app_fid") == []
    assert replica.live("casts", "fid, app_fid") == [(ROOT, None), (FRIEND, None)]


def test_gasless_keys_are_those_of_targets_and_go_with_them(replica: FoldedDatabase, redis_url: str) -> None:
    follows, cast = link(ROOT, FRIEND), cast_add(FRIEND)
    with opened(replica, redis_url, OwnerSettings((ROOT,), ())) as filtered:
        filtered.fold(merge(follows), merge(cast))
        filtered.complete()
        access = TargetAccess(redis_url)
        with KeyFold(replica.url, "keys", access) as folding:
            for fid in (FRIEND, STRANGER):
                read = FidSnapshot(fid, 1, 1 << 40, 1 << 40, datetime.now(UTC))
                lines = [("gasless_keys", gasless(fid, cast["signer"])), (KEYS_READ, b"")]
                folding.fold([read], record_batch(read, lines))
        assert replica.live("gasless_keys", "fid, app_fid") == [(FRIEND, APP)]
        assert replica.live("casts", "fid, app_fid") == [(FRIEND, APP)]
        filtered.fold(merge(link(ROOT, FRIEND, NOW + 1, add=False), follows))
        sweep.settle_former(replica.engine, "drop")
    assert replica.live("gasless_keys", "fid, app_fid") == replica.live("signers", "fid, app_fid") == []


def gasless(fid: int, key: str) -> bytes:
    entry = {"source": "SIGNER_SOURCE_OFFCHAIN", "key": key, "keyType": 1, "fid": fid, "ttl": 60, "requestFid": APP}
    times = dict.fromkeys(("addedAt", "lastUsedAt", "expiresAt"), 1_790_000_000)
    return json.dumps({**entry, **times, "scopes": ["MESSAGE_TYPE_CAST_ADD"]}).encode()
