"""The raw log beside the ledger, in stores whose listings lag behind what was written."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import LakeError
from fc_pipeline.feed import folded_log
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.hours import Hour
from fc_pipeline.lake.event_log import EventLog
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline.replica import open_replica
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.status import health, log_files
from fc_pipeline.status.log_files import find_lost_log
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench

HOUR = Hour(HOUR_UNIX)


@dataclass(frozen=True)
class LaggingListings(LakeStorage):
    """A store that hides the newest file of each folder from its first listings."""

    hides: int = 0
    listed: dict[str, int] = field(default_factory=dict[str, int])

    def names(self, folder: str) -> list[tuple[str, int]]:
        self.listed[folder] = self.listed.get(folder, 0) + 1
        names = super().names(folder)
        return names[:-1] if self.listed[folder] <= self.hides else names

    def walk(self, folder: str) -> list[tuple[str, int]]:
        self.listed[folder] = self.listed.get(folder, 0) + 1
        files = super().walk(folder)
        return files[:-1] if self.listed[folder] <= self.hides else files


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded_log, "LISTING_PAUSES_SECONDS", (0.01, 0.01, 0.01, 0.01))
    monkeypatch.setattr(log_files, "LISTED_LATE_SECONDS", 0.0)


@pytest.mark.slow
def test_what_a_listing_does_not_show_yet_is_not_lost(database: Database, tmp_path: Path, lines: list[bytes]) -> None:
    with serving(log_from_lines(lines)) as url:
        settings = Settings(
            data_dir=tmp_path, lake_uri=f"memory://{tmp_path.name}", postgres_url=database.url, hub_urls=(url,)
        )
        with open_replica(settings) as replica:
            bench = Workbench(replica, FoldedDatabase(database.url, replica.engine))
            bench.run()
            before = bench.dump()
            hours = HourWindow(HOUR, HOUR.next)

            def lagging(hides: int) -> Workbench:
                lake = LakeStorage.open(settings.lake_uri)
                storage = LaggingListings(lake.filesystem, lake.root, hides=hides)
                return replace(bench, replica=replace(replica, log=EventLog(storage)))

            assert health.lost_of(lagging(2).replica, [HOUR, HOUR.next], reading=False) == {}
            assert find_lost_log(lagging(1).replica).lost == {}
            assert find_lost_log(lagging(1000).replica).lost != {}
            lagging(3).run("rebuild", hours, tuple(DATA_TABLES), rebuild=True)
            assert bench.dump() == before
            # One that never shows is lost, and named.
            assert set(health.lost_of(lagging(1000).replica, [HOUR], reading=False)) == {1, 2}
            with pytest.raises(LakeError, match=r"the raw log lacks heights .* of shard 1 in hour"):
                lagging(1000).run("rebuild", hours, tuple(DATA_TABLES), rebuild=True)
