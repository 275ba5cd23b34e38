"""Links: follows, blocks, their removal, and compact states."""

from fc_pipeline.sample_hub.generator.scribe import EventWriter
from fc_pipeline.sample_hub.generator.world import Stored, User, World

__all__ = ["Following"]

COMPACTION_BY_TYPE = 175_701_600


class Following:
    """Whom users follow."""

    def __init__(self, scribe: EventWriter, world: World) -> None:
        self._scribe = scribe
        self._world = world

    def follow(self) -> None:
        """LINK_ADD; following somebody again refreshes the link, and displaces the old one."""
        random = self._scribe.random
        user, target = self._world.active(random), self._world.popular(random)
        if user is target:
            return
        kind = "follow" if random() < 0.98 else "block"
        self._put(user, kind, target.fid, is_add=True)
        user.messages += 1

    def unfollow(self) -> None:
        """LINK_REMOVE of the user's newest link that is still an add, or a PRUNE of it."""
        user = self._world.active(self._scribe.random)
        held = next((item for item in reversed(user.links.items()) if item[1].is_add), None)
        if held is None:
            return
        (kind, target_fid), stored = held
        if self._scribe.random() < 0.04:
            del user.links[kind, target_fid]
            self._scribe.prune(user, stored)
        else:
            self._put(user, kind, target_fid, is_add=False)

    def _put(self, user: User, kind: str, target_fid: int, *, is_add: bool) -> None:
        scribe = self._scribe
        held = user.links.pop((kind, target_fid), None)
        newest_compaction = max((state.timestamp for state in user.compact_states.values()), default=-1)
        timestamp = scribe.moment(max(held.timestamp if held else -1, newest_compaction))
        display = "null" if scribe.random() < 0.9 else str(timestamp - 1)
        body = f'"linkBody":{{"type":"{kind}","displayTimestamp":{display},"targetFid":{target_fid}}}'
        message = scribe.message(user, "LINK_ADD" if is_add else "LINK_REMOVE", timestamp, body, is_add=is_add)
        user.links[kind, target_fid] = message
        scribe.merge(user, message, held.json if held else "")

    def compact(self) -> None:
        """LINK_COMPACT_STATE: the links that are not in it go without being listed (hub-api 7.4)."""
        scribe, user = self._scribe, self._world.active(self._scribe.random)
        follows = [target for (kind, target), link in user.links.items() if kind == "follow" and link.is_add]
        if len(follows) < 3:
            return
        kept = [target for target in follows if scribe.random() < 0.8] or follows[:1]
        previous = user.compact_states.get("follow")
        newest = max(link.timestamp for link in user.links.values())
        timestamp = scribe.moment(max(previous.timestamp if previous else -1, newest - 1))
        targets = ",".join(map(str, kept))
        body = f'"linkCompactStateBody":{{"type":"follow","targetFids":[{targets}]}}'
        message = scribe.message(user, "LINK_COMPACT_STATE", timestamp, body)
        user.compact_states["follow"] = message
        scribe.merge(user, message)
        user.links = {key: link for key, link in user.links.items() if _survives(key, link, timestamp, set(kept))}

    def refused(self) -> None:
        """MERGE_FAILURE: a message that was in a block but must not be stored (hub-api T8)."""
        scribe, random = self._scribe, self._scribe.random
        user, target = self._world.active(random), self._world.popular(random)
        body = f'"linkBody":{{"type":"follow","displayTimestamp":null,"targetFid":{target.fid}}}'
        message = scribe.message(user, "LINK_ADD", scribe.moment(), body)
        scribe.emit(
            user.shard,
            "MERGE_FAILURE",
            f'"mergeFailureBody":{{"message":{message.json},"code":"bad_request.conflict",'
            '"reason":"message conflicts with a more recent remove"}',
        )


def _survives(key: tuple[str, int], link: Stored, timestamp: int, kept: set[int]) -> bool:
    in_scope = link.timestamp <= timestamp and (timestamp < COMPACTION_BY_TYPE or key[0] == "follow")
    return not in_scope or (link.is_add and key[1] in kept)
