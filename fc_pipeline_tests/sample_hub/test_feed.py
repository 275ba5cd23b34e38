"""The dialect of /v1/info, /v1/events and /v1/eventById (hub-api 1 to 3)."""

import json

import httpx
import pytest

from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving


def ids(response: httpx.Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [event["id"] for event in response.json()["events"]]


def test_events_are_the_files_bytes(hub: httpx.Client, log: EventLog):
    body = hub.get("/v1/events?shard_index=2&page_size=1000000").content
    assert body == b'{"events":[' + b",".join(log.shards[2].raws) + b"]}"


def test_a_walk_of_pages_gives_every_event_once(hub: httpx.Client, log: EventLog):
    walked: list[int] = []
    cursor = 0
    while page := ids(hub.get(f"/v1/events?shard_index=1&from_event_id={cursor}&page_size=997")):
        walked += page
        cursor = page[-1] + 1
    assert walked == log.shards[1].event_ids.tolist()


def test_start_is_inclusive_and_stop_exclusive(hub: httpx.Client, log: EventLog):
    some = log.shards[1].event_ids.tolist()
    query = f"/v1/events?shard_index=1&from_event_id={some[5]}&stop_id={some[9]}"
    assert ids(hub.get(query)) == some[5:9]
    assert ids(hub.get(query + "&reverse=true&page_size=3")) == [some[8], some[7], some[6]]
    assert ids(hub.get(query + "&page_size=0")) == [some[5]]
    assert ids(hub.get(f"/v1/events?shard_index=1&from_event_id={some[9]}&stop_id={some[5]}")) == []


def test_beyond_the_tip_is_an_empty_page(hub: httpx.Client, log: EventLog):
    assert hub.get(f"/v1/events?shard_index=1&from_event_id={2**64 - 1}").text == '{"events":[]}'
    tip = hub.get("/v1/events?shard_index=1&reverse=true&page_size=1")
    assert ids(tip) == [log.shards[1].event_ids[-1]]


def test_without_a_shard_the_pages_are_concatenated_in_an_arbitrary_order(hub: httpx.Client):
    events = hub.get("/v1/events?page_size=3").json()["events"]
    assert [event["shardIndex"] for event in events] == [2, 2, 2, 1, 1, 1]


@pytest.mark.parametrize("misspelt", ["fromEventId=99999999", "shardIndex=1", "stopId=1", "start_id=99999999"])
def test_misspelt_parameters_are_ignored(hub: httpx.Client, misspelt: str):
    assert hub.get(f"/v1/events?{misspelt}").content == hub.get("/v1/events").content


@pytest.mark.parametrize(
    "bad",
    ["from_event_id=", "from_event_id=x", "from_event_id=-1", f"from_event_id={2**64}", "shard_index=1.0",
     f"page_size={2**32}", "reverse=1", "reverse=True", "pageSize=abc", "nonsense=1&nonsense=2", "stop_id=%FF"],
)  # fmt: skip
def test_bad_parameters_are_a_plain_400_without_content_type(hub: httpx.Client, bad: str):
    answer = hub.get(f"/v1/events?{bad}")
    assert answer.status_code == 400
    assert "content-type" not in answer.headers
    assert answer.text.startswith("Invalid query parameters: ")
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("shard", [0, 3])
def test_a_shard_that_is_not_hosted_is_a_json_400(hub: httpx.Client, shard: int):
    answer = hub.get(f"/v1/events?shard_index={shard}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "error": "Failed to get events",
        "error_detail": 'status: InvalidArgument, message: "Shard not found", details: [], '
        "metadata: MetadataMap { headers: {} }",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/nothing"), ("GET", "/v1/info/"), ("GET", "/V1/info"), ("GET", "/"), ("HEAD", "/v1/info"),
     ("POST", "/v1/info"), ("OPTIONS", "/v1/events")],
)  # fmt: skip
def test_unknown_paths_and_methods_are_a_plain_404(hub: httpx.Client, method: str, path: str):
    answer = hub.request(method, path)
    assert answer.status_code == 404
    assert "content-type" not in answer.headers
    assert answer.text == ("" if method == "HEAD" else "Not Found")


def test_event_by_id(hub: httpx.Client, log: EventLog):
    event_id = log.shards[2].event_ids[17]
    answer = hub.get(f"/v1/eventById?event_id={event_id}&shard_index=2")
    assert answer.content == log.shards[2].raws[17]
    assert hub.get(f"/v1/eventById?event_id={event_id}").status_code == 400
    unknown = hub.get("/v1/eventById?event_id=5&shard_index=2")
    assert unknown.status_code == 400
    assert unknown.json()["error_detail"].startswith('status: Internal, message: "not_found/Event not found"')
    assert "no shard store for fid" in hub.get(f"/v1/eventById?event_id={event_id}&shard_index=0").text


def test_info(log: EventLog):
    newest = {shard: json.loads(rows.raws[-1])["id"] >> 14 for shard, rows in log.shards.items()}
    block_unix = log.shards[1].newest_unix or 0
    with serving(log, clock=lambda: block_unix + 4.5) as base_url:
        info = httpx.get(f"{base_url}/v1/info").json()
    shards = {entry["shardId"]: entry for entry in info["shardInfos"]}
    assert info["numShards"] == 2
    assert [entry["shardId"] for entry in info["shardInfos"]] == [0, 2, 1]
    assert {shard: shards[shard]["maxHeight"] for shard in (1, 2)} == newest
    assert newest[1] != newest[2]
    assert shards[1]["blockDelay"] == 4
    assert shards[1]["mempoolSize"] == 4_294_967_295
    assert shards[1]["numFidRegistrations"] + shards[2]["numFidRegistrations"] == 80
    assert "peer_id" in info


def test_block_delay_without_block_confirmed_comes_from_the_newest_timestamp():
    merge = (
        '{"type":"HUB_EVENT_TYPE_MERGE_MESSAGE","id":16384,"mergeMessageBody":{"message":{"data":{"timestamp":1000,'
        '"text":"\\"timestamp\\":99999"}}},"blockNumber":1,"shardIndex":1}'
    )
    chain = '{"type":"HUB_EVENT_TYPE_MERGE_ON_CHAIN_EVENT","id":16385,"x":{"blockTimestamp":1609460300},"shardIndex":1}'
    log = log_from_lines([merge.encode(), chain.encode()])
    with serving(log, clock=lambda: 1_609_460_400) as base_url:
        info = httpx.get(f"{base_url}/v1/info").json()
    assert info["shardInfos"][1]["blockDelay"] == 100


def test_a_poison_event_closes_the_connection_on_every_page_with_it(log: EventLog):
    some = log.shards[1].event_ids.tolist()
    with serving(log, poison_event_ids={some[10]}) as base_url, httpx.Client(base_url=base_url) as client:
        for path in (
            "/v1/events?shard_index=1&page_size=11",
            f"/v1/events?shard_index=1&from_event_id={some[10]}",
            f"/v1/eventById?event_id={some[10]}&shard_index=1",
        ):
            with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
                client.get(path)
        assert ids(client.get("/v1/events?shard_index=1&page_size=10")) == some[:10]
        assert ids(client.get(f"/v1/events?shard_index=1&from_event_id={some[11]}&page_size=1")) == [some[11]]


def test_faults_can_change_while_the_hub_serves(log: EventLog):
    faults = Faults(status=429, retry_after_seconds=2, failures_left=1)
    with serving(log, faults=faults) as base_url, httpx.Client(base_url=base_url) as client:
        refused = client.get("/v1/info")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert client.get("/v1/info").status_code == 200
        faults.num_shards = 5
        assert client.get("/v1/info").json()["numShards"] == 5
        faults.hidden_shards.add(2)
        assert [entry["shardId"] for entry in client.get("/v1/info").json()["shardInfos"]] == [0, 1]
        assert client.get("/v1/events?shard_index=2").status_code == 400


def test_pruned_events_are_gone_silently(log: EventLog):
    rows = log.shards[1]
    height = (rows.event_ids[0] >> 14) + 3
    with serving(log, pruned_before_height={1: height}) as base_url, httpx.Client(base_url=base_url) as client:
        assert ids(client.get("/v1/events?shard_index=1&page_size=1")) == [height << 14]
        assert client.get(f"/v1/eventById?event_id={rows.event_ids[0]}&shard_index=1").status_code == 400
        assert ids(client.get("/v1/events?shard_index=2&page_size=1")) == [log.shards[2].event_ids[0]]
