import asyncio
import gzip
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from fc_pipeline.errors import FcPipelineError, HubRefused, HubUnavailable
from fc_pipeline.hub.client import HubBodyTooLarge, HubClient, HubDisconnected, HubKeyRefused
from fc_pipeline.hub.decode import split_page
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline_tests.support.acted_hub import DISCONNECT, ActedHub, Answer, Waits, client_for, json_answer

OK = json_answer({"ok": True})
TRUNCATED_PAGE = Answer(body=b'{"events": [{"id": 1}, {"id": 2}')


def ask(
    script: list[Answer], path: str = "/v1/info", params: Any = (), **options: Any
) -> tuple[bytes, Waits, ActedHub]:
    async def main() -> tuple[bytes, Waits, ActedHub]:
        waits = Waits()
        async with ActedHub() as hub, client_for(hub, waits, **options) as client:
            hub.script = script
            return await client.get(path, params), waits, hub

    return asyncio.run(main())


@pytest.mark.parametrize(
    "trouble",
    [
        DISCONNECT,
        Answer(429, b"slow down"),
        Answer(500, b"oops"),
        Answer(503, b"<html>"),
        Answer(200, b"<html>login</html>"),
        Answer(200, b""),
        Answer(200, b'{"events": [{"id"'),
        Answer(200, b'{"ok": true}', cut=4),
        json_answer({"error": "x", "error_detail": 'status: Internal, message: "store"'}, 400),
        json_answer({"error": "x", "error_detail": 'status: Unavailable, message: "mempool"'}, 400),
    ],
)
def test_trouble_is_tried_again(trouble: Answer) -> None:
    body, waits, hub = ask([trouble, trouble, OK])
    assert json.loads(body) == {"ok": True}
    assert len(hub.requests) == 3
    assert waits.slept == [0.25, 0.5]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (DISCONNECT, HubDisconnected, "without an answer"),
        (Answer(502, b"bad gateway"), HubDisconnected, "502 bad gateway"),
        (Answer(429, b"slow down"), HubUnavailable, "429 slow down"),
        (Answer(500, b"x" * 5000), HubUnavailable, "500 " + "x" * 200 + r" \("),
        (Answer(200, b"<html>login</html>"), HubUnavailable, "200 .*<html>login</html>"),
        (Answer(200, b'{"a": 1}', cut=3), HubUnavailable, "broke within the body"),
    ],
)
def test_trouble_without_end_says_hub_request_and_answer(answer: Answer, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=r"hub http://127.0.0.1:\d+ GET /v1/info\?a=1: .*" + says):
        ask([answer] * 6, params={"a": 1})


def test_backoff_grows_to_a_bound_and_jitters() -> None:
    async def main(random: Callable[[], float]) -> list[float]:
        waits = Waits()
        async with ActedHub() as hub:
            client = HubClient(HubEndpoint(hub.url), retries=8, sleep=waits.sleep, clock=waits.clock, random=random)
            hub.script = [Answer(503, b"")] * 8 + [OK]
            async with client:
                await client.get("/v1/info")
        return waits.slept

    assert asyncio.run(main(lambda: 1.0)) == [0.25, 0.5, 1, 2, 4, 8, 10, 10]
    assert asyncio.run(main(lambda: 0.0)) == [0.125, 0.25, 0.5, 1, 2, 4, 5, 5]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(400, b"Invalid query parameters: missing field `fid`"), HubRefused),
        (json_answer({"error": "Failed", "error_detail": 'status: NotFound, message: "x"'}, 400), HubRefused),
        (json_answer({"error": "target not specified", "error_detail": None}, 400), HubRefused),
        (Answer(404, b"Not Found"), HubRefused),
        (Answer(302, b"", {"location": "http://elsewhere"}), HubRefused),
        (Answer(401, b"who?"), HubKeyRefused),
        (Answer(402, b"pay"), HubKeyRefused),
        (Answer(403, b"no"), HubKeyRefused),
    ],
)
def test_refusals_are_not_tried_again(answer: Answer, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        ask([answer])
    assert str(answer.status) in str(caught.value)


def test_a_refusal_carries_its_detail_and_a_key_refusal_the_remedy() -> None:
    with pytest.raises(HubRefused) as refused:
        ask([json_answer({"error": "Failed", "error_detail": "status: NotFound, message"}, 400)])
    assert refused.value.detail == "status: NotFound, message"
    with pytest.raises(HubKeyRefused, match="FC_HUB_HEADERS"):
        ask([Answer(402, b"pay")])


def test_store_trouble_is_given_a_few_retries_only() -> None:
    internal = json_answer({"error": "x", "error_detail": "status: Internal, message"}, 400)
    with pytest.raises(HubUnavailable, match="3 attempts"):
        ask([internal] * 3 + [OK])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0", 0), ("Fri, 15 Jan 2027 08:00:09 GMT", 9), ("Fri, 15 Jan 2027 07:00:00 GMT", 0), ("soon", 0)],
)
def test_retry_after_is_obeyed(value: str, seconds: float) -> None:
    _, waits, _ = ask([Answer(429, b"", {"retry-after": value}), OK])
    assert sum(waits.slept) == pytest.approx(max(seconds, 0.25))


def test_a_long_retry_after_is_not_waited_for_and_the_hub_is_left_alone() -> None:
    async def main() -> None:
        waits = Waits()
        async with ActedHub() as hub, client_for(hub, waits) as client:
            hub.script = [Answer(429, b"", {"retry-after": "3600"}), OK]
            for _ in range(2):
                with pytest.raises(HubUnavailable, match="left alone for 3600 s"):
                    await client.get("/v1/info")
            assert len(hub.requests) == 1
            assert waits.slept == []
            waits.now += 3600
            await client.get("/v1/info")

    asyncio.run(main())


def test_bodies_are_bounded_in_bytes_also_when_compressed() -> None:
    long = json.dumps({"x": "y" * 100_000}).encode()
    for answer in (Answer(200, long), Answer(200, gzip.compress(long), {"content-encoding": "gzip"})):
        with pytest.raises(HubBodyTooLarge, match="more than 50000 bytes"):
            ask([answer], max_body_bytes=50_000)
        assert ask([answer], max_body_bytes=200_000)[0] == long


def test_a_broken_page_is_tried_again_by_its_reader() -> None:
    async def main() -> None:
        async with ActedHub() as hub, client_for(hub) as client:
            hub.script = [TRUNCATED_PAGE, json_answer({"error": "none"}), json_answer({"events": [{"id": 5}]})]
            assert await client.read("/v1/events", (), split_page) == [b'{"id": 5}']

    asyncio.run(main())


def test_a_hub_that_is_not_there() -> None:
    async def main() -> None:
        async with ActedHub() as hub:
            url = hub.url
        waits = Waits()
        async with HubClient(HubEndpoint(url), retries=2, sleep=waits.sleep, clock=waits.clock) as client:
            with pytest.raises(HubUnavailable, match=r"ConnectError.*3 attempts"):
                await client.get("/v1/info")

    asyncio.run(main())


def test_headers_and_password_are_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    async def main() -> None:
        async with ActedHub() as hub:
            url = hub.url.replace("http://", "http://user:hunter2@")
            endpoint = HubEndpoint(url, {"x-api-key": "s3cret"})
            waits = Waits()
            client = HubClient(endpoint, retries=1, sleep=waits.sleep, clock=waits.clock)
            hub.script = [Answer(500, b"")] * 2 + [Answer(402, b"")]
            shown = [repr(endpoint), str(endpoint)]
            async with client:
                for _ in range(2):
                    with pytest.raises(FcPipelineError) as caught:
                        await client.get("/v1/info")
                    shown += [str(caught.value), repr(caught.value)]
            assert hub.request_headers[0]["x-api-key"] == "s3cret"
            assert hub.request_headers[0]["authorization"].startswith("basic ")
            assert not any("s3cret" in text or "hunter2" in text for text in [*shown, caplog.text])

    asyncio.run(main())


def test_a_hub_that_repeats_the_key_or_commands_a_terminal_is_told_of_in_plain_words() -> None:
    answers = [Answer(401, b"no such key: \x1b[31ms3cret-key-1\x1b[0m, " + b64encode(b"user:hunter2-pw"))] * 2
    answers += [Answer(200, b"<html>Bearer s3cret-key-1 \xc2\x9b2J \xe2\x80\xae"), Answer(503, b'"s3cret\\"key"')]

    async def main() -> list[str]:
        said: list[str] = []
        async with ActedHub() as hub:
            url = hub.url.replace("http://", "http://user:hunter2-pw@") + "/path-with-a-key"
            headers = {"x-api-key": "Bearer s3cret-key-1", "x-other": 's3cret"key'}
            hub.script = list(answers)
            async with HubClient(HubEndpoint(url, headers), retries=0) as client:
                for _ in answers:
                    with pytest.raises(FcPipelineError) as caught:
                        await client.get("/v1/info")
                    said.append(str(caught.value))
        return said

    refused, _, no_json, broken = asyncio.run(main())
    assert "401 no such key: \\x1b[31m…hidden…\\x1b[0m, …hidden…" in refused
    assert "…hidden… \\x9b2J \\u202e" in no_json
    assert '503 "…hidden…"' in broken
    assert "path-with" not in refused + no_json + broken


def test_parameters_are_encoded_exactly() -> None:
    _, _, hub = ask([OK], "/v1/x", [("pageToken", "a+b/c=="), ("target_cast_id[fid]", 2), ("name", "é b")])
    assert hub.requests == ["/v1/x?pageToken=a%2Bb%2Fc%3D%3D&target_cast_id[fid]=2&name=%C3%A9+b"]


def test_many_requests_at_once_share_the_client() -> None:
    async def main() -> None:
        async with ActedHub({1: []}) as hub, client_for(hub) as client:
            bodies = await asyncio.gather(*(client.get("/v1/info") for _ in range(100)))
            assert len(set(bodies)) == 1
            assert len(hub.requests) == 100

    asyncio.run(main())
