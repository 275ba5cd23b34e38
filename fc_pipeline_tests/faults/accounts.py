"""What became of every event that a page of the feed brought: nothing is dropped silently."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from fc_pipeline_tests.faults.oracle import Oracle
from fc_pipeline_tests.faults.oracle_rows import Json, Key, Place
from fc_pipeline_tests.faults.verdict import KEYS, read
from fc_pipeline_tests.support.folded import FoldedDatabase


@dataclass(frozen=True)
class PageAccount:
    """What became of the events of one page: nothing is unaccounted for."""

    fetched: int
    written: int
    unchanged: int
    filtered: int
    quarantined: int

    @property
    def unaccounted(self) -> int:
        """Events of which there is no trace."""
        return self.fetched - self.written - self.unchanged - self.filtered - self.quarantined


class Accounts:
    """Settles pages of the feed: each event was written, had no effect any more, is of no table, or is quarantined.

    Written: a row says that this event decided it. Unchanged: a later event has decided all its rows. Filtered: no
    table is made of it, as of a failed merge. Quarantined: it lies there with its reason.
    """

    def __init__(self, tables: FoldedDatabase, oracle: Oracle) -> None:
        self._oracle = oracle
        self._versions: dict[Place, int] = {}
        self._proof_times: dict[Key, int] = {}
        for table, key in {**KEYS, "pipeline.link_compactions": ("fid", "version")}.items():
            for row in read(tables, table, live=False):
                self._versions[table, tuple(row[name] for name in key)] = row["version"]
                if table == "username_proofs":
                    self._proof_times[row["name"], row["type"]] = row["timestamp"]
        self._quarantine = {
            (row["shard"], row["event_id"])
            for row in read(tables, "pipeline.quarantine", live=False)
            if row["reason"] != "nul_removed"
        }

    def settle(self, shard: int, event_ids: Collection[int]) -> PageAccount:
        """What became of the events of a page."""
        outcomes = Counter(self._fate(shard, event_id) for event_id in event_ids)
        names = ("written", "unchanged", "filtered", "quarantined")
        return PageAccount(len(event_ids), *(outcomes[name] for name in names))

    def _fate(self, shard: int, event_id: int) -> str:
        event = self._oracle.events[shard, event_id]
        places = self._oracle.places_of(event)
        if (shard, event_id) in self._oracle.quarantined:
            return "quarantined" if (shard, event_id) in self._quarantine else "unaccounted"
        if not places:
            return "filtered"
        states = {self._state(place, event) for place in places}
        if "missing" in states:
            return "unaccounted"
        return "written" if "written" in states else "unchanged"

    def _state(self, place: Place, event: Json) -> str:
        version = self._versions.get(place)
        if version is None:
            return "missing"
        if version == event["id"]:
            return "written"
        if place[0] == "username_proofs":
            body = event["mergeUsernameProofBody"]
            proof = body.get("usernameProof") or body["deletedUsernameProof"]
            return "unchanged" if self._proof_times[place[1]] >= proof["timestamp"] else "missing"
        return "unchanged" if version > event["id"] else "missing"
