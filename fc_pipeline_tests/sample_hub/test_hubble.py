"""Hubble's dialect (hub-api 3.6 and 8)."""

import json
from pathlib import Path

import httpx
import pytest

from fc_pipeline.errors import ConfigError
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "hubble"


def test_pages_have_a_next_pointer_that_creeps_at_the_tip():
    lines = list(generate(9, fids=20, events=2500, shards=1))
    with serving(log_from_lines(lines), dialect="hubble") as base_url, httpx.Client(base_url=base_url) as client:
        cursor, found = 0, 0
        while page := (answer := client.get(f"/v1/events?from_event_id={cursor}&page_size=7").json())["events"]:
            found += len(page)
            assert len(page) <= 1000
            assert answer["nextPageEventId"] == page[-1]["id"] + 1
            cursor = answer["nextPageEventId"]
        assert found == len(lines)
        assert answer == {"nextPageEventId": cursor + 1, "events": []}
        assert client.get("/v1/events?from_event_id=NaN").json()["events"][0] == json.loads(lines[0])
        assert "shardInfos" not in client.get("/v1/info").json()
        assert client.get("/v1/fids").json()["fids"] == list(range(1, 21))
        assert client.get(f"/v1/eventById?event_id={json.loads(lines[5])['id']}").json() == json.loads(lines[5])
        assert client.get("/v1/eventById?event_id=3").json()["errCode"] == "not_found"
        everything = client.get("/v1/reactionsByFid?fid=1").json()["messages"]
        likes = client.get("/v1/reactionsByFid?fid=1&reaction_type=1").json()["messages"]
        assert 0 < len(likes) < len(everything)
        assert client.get("/v1/castsByFid?fid=1&reverse=1").status_code == 200


def test_a_log_of_shards_is_no_hubbles(log: EventLog):
    with pytest.raises(ConfigError, match="no shards"):
        SampleHub(log, dialect="hubble")


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the recorded hub answers are not here")
def test_a_recorded_hubble_log_comes_back_as_recorded():
    pages = [json.loads(page.read_text()) for page in sorted((FIXTURES / "events").glob("page_*.json"))]
    events = [event for page in pages for event in page["events"]]
    log = log_from_lines([json.dumps(event, ensure_ascii=False).encode() for event in events])
    with serving(log, dialect="hubble") as base_url:
        first = httpx.get(f"{base_url}/v1/events").json()
        rest = httpx.get(f"{base_url}/v1/events?from_event_id={first['nextPageEventId']}").json()
    assert first["events"] + rest["events"] == events
