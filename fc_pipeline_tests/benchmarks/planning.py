"""What it takes to plan a round over a whole network: listing its users, keeping them, and counting what is left.

`python -m fc_pipeline_tests.benchmarks.planning hub FIDS` is a hub that lists so many users and knows nothing else;
`… plan SETTINGS` plans a round in a process of its own.
"""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.config.settings import Settings
from fc_pipeline.hub.snapshot import shard_of
from fc_pipeline.replica import open_replica
from fc_pipeline_tests.benchmarks.stage import open_stage, peak_rss_bytes, rss_bytes
from fc_pipeline_tests.support.acted_hub import ActedHub, Answer, json_answer

SHARDS: Final = 2


def plan_network(folder: Path, fids: int) -> dict[str, float]:
    """A round over so many users, of whom nobody is fetched."""
    me = [sys.executable, "-m", "fc_pipeline_tests.benchmarks.planning"]
    with (
        open_stage(folder) as stage,
        subprocess.Popen([*me, "hub", str(fids)], stdout=subprocess.PIPE, text=True) as hub,
    ):
        assert hub.stdout is not None
        settings = stage.settings(hub.stdout.readline().strip())
        given = json.dumps(settings.model_dump(mode="json"))
        planned = subprocess.run([*me, "plan", given], stdout=subprocess.PIPE, text=True, check=False)
        hub.terminate()
    if planned.returncode:
        raise SystemExit("planning failed")
    return json.loads(planned.stdout)


def _plan(settings: Settings) -> dict[str, float]:
    with open_replica(settings) as replica:
        idle, started = rss_bytes(), time.perf_counter()
        found = Backfill(replica, "bench", BackfillScope(), should_stop=lambda: True).execute()
        seconds = time.perf_counter() - started
        with replica.engine.connect() as connection:
            kept = connection.scalar(sa.text("SELECT pg_total_relation_size('pipeline.listed_fids')"))
        return {
            "fids": found.fids,
            "requests": found.requests,
            "seconds": seconds,
            "memory_above_idle_mb": (peak_rss_bytes() - idle) / 1e6,
            "memory_mb": peak_rss_bytes() / 1e6,
            "kept_mb": int(kept or 0) / 1e6,
        }


async def _serve(fids: int) -> None:
    pages = [[fid for fid in range(1, fids + 1) if shard_of(fid, SHARDS) == shard] for shard in range(1, SHARDS + 1)]
    heads = [{"shardId": shard, "maxHeight": 9, "blockDelay": 1} for shard in range(1, SHARDS + 1)]

    def answer(path: str, params: dict[str, str]) -> Answer:
        if path == "/v1/fids":
            listed, size = pages[int(params["shard_id"]) - 1], int(params["pageSize"])
            start = int(params.get("pageToken") or 0)
            token = str(start + size) if start + size < len(listed) else ""
            return json_answer({"fids": listed[start : start + size], "nextPageToken": token})
        return json_answer({"version": "1", "numShards": SHARDS, "shardInfos": heads})

    async with ActedHub() as hub:
        hub.respond = answer
        print(hub.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "hub":
        asyncio.run(_serve(int(sys.argv[2])))
    else:
        print(json.dumps(_plan(Settings.model_validate(json.loads(sys.argv[2])))))
