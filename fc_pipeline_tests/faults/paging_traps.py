"""Hubs that page in ways of their own (hub-api 6, 9, T1, T4): what the proxy makes of a sound one's answers."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from urllib.parse import urlencode

from fc_pipeline_tests.support.bad_answers import Answer
from fc_pipeline_tests.support.fault_proxy import FaultProxy, Request

__all__ = ["FEED_TRAPS", "LIST_TRAPS", "Trap"]

SMALL_PAGE = 3
EMPTY_PAGE_TOKEN = "bm90aGluZyB5ZXQ="
ENDLESS = "ZW5kbGVzcw=="


@dataclass(frozen=True)
class Trap:
    """How the hub pages; `refusal` is part of what the pipeline must say of it, None if all must land."""

    ask: Callable[[Request, Random], Request | Answer] = lambda request, rng: request
    change: Callable[[Request, Answer, Random], Answer] = lambda request, answer, rng: answer
    refusal: str | None = None

    def lay(self, proxy: FaultProxy, paths: Callable[[str], bool]) -> None:
        """Have the proxy act it out on these paths."""

        def rng(request: Request) -> Random:
            return Random(f"{proxy.seed}/{request.target}/{request.attempt}/trap")

        proxy.ask = lambda request: self.ask(request, rng(request)) if paths(request.path) else request
        proxy.change = lambda request, answer: (
            self.change(request, answer, rng(request)) if paths(request.path) and answer.status == 200 else answer
        )


def with_params(request: Request, **changed: str | None) -> Request:
    """The request with other parameters; None takes one out."""
    params = {name: value for name, value in {**request.params, **changed}.items() if value is not None}
    return replace(request, target=f"{request.path}?{urlencode(params)}", params=params)


def with_list(answer: Answer, change: Callable[[list[Any]], list[Any]]) -> Answer:
    """The answer with its list changed."""
    said = json.loads(answer.body)
    name = next(name for name in ("events", "messages", "fids", "proofs") if name in said)
    said[name] = change(said[name])
    return replace(answer, body=json.dumps(said).encode())


def with_keys(answer: Answer, change: Callable[[dict[str, Any]], None]) -> Answer:
    said = json.loads(answer.body)
    change(said)
    return replace(answer, body=json.dumps(said).encode())


def _at_most(size: int) -> Callable[[Request, Random], Request]:
    return lambda request, rng: with_params(request, page_size=str(min(size, int(request.params["page_size"]))))


FEED_TRAPS: dict[str, Trap] = {
    "no page longer than 97 events": Trap(_at_most(97)),
    "pages of any length": Trap(
        change=lambda request, answer, rng: with_list(
            answer, lambda events: events[: rng.randint(1, max(1, len(events)))]
        )
    ),
    "the page size ignored": Trap(lambda request, rng: with_params(request, page_size="1000")),
    "stop_id ignored": Trap(lambda request, rng: with_params(request, stop_id=None), refusal="where to stop"),
    "from_event_id ignored": Trap(
        lambda request, rng: with_params(request, from_event_id="0"), refusal="lowest asked for"
    ),
    "shard_index ignored": Trap(
        lambda request, rng: with_params(request, shard_index=None), refusal="answered events of shard"
    ),
    "reverse ignored": Trap(
        lambda request, rng: with_params(request, reverse=None), refusal="when asked for the newest"
    ),
    "events twice": Trap(
        change=lambda request, answer, rng: with_list(
            answer, lambda events: [one for event in events for one in [event] * rng.choice((1, 1, 1, 2))]
        )
    ),
    "a next pointer beside the events": Trap(
        change=lambda request, answer, rng: with_keys(
            answer, lambda said: said.update(nextPageEventId=1, nextPageToken="x")
        )
    ),
}


def _list_size(size: Callable[[Random], int]) -> Callable[[Request, Random], Request]:
    return lambda request, rng: with_params(request, pageSize=str(size(rng)))


def _token(change: Callable[[dict[str, Any]], None]) -> Callable[[Request, Answer, Random], Answer]:
    return lambda request, answer, rng: with_keys(answer, change)


def _without_token(said: dict[str, Any]) -> None:
    if not said.get("nextPageToken"):
        said.pop("nextPageToken", None)


def _null_token(said: dict[str, Any]) -> None:
    if not said.get("nextPageToken"):
        said["nextPageToken"] = None


def _after_an_empty_page(request: Request, rng: Random) -> Request | Answer:
    token = request.params.get("pageToken")
    if token is None:
        name = "fids" if request.path == "/v1/fids" else "messages"
        return Answer(200, json.dumps({name: [], "nextPageToken": EMPTY_PAGE_TOKEN}).encode())
    return with_params(request, pageToken=None if token == EMPTY_PAGE_TOKEN else token)


def _endless(request: Request, rng: Random) -> Request | Answer:
    """Empty pages for ever, each with another token."""
    token = request.params.get("pageToken", "")
    if not token.startswith(ENDLESS):
        return request
    name = "fids" if request.path == "/v1/fids" else "messages"
    return Answer(200, json.dumps({name: [], "nextPageToken": f"{ENDLESS}{rng.getrandbits(64):x}"}).encode())


def _endless_token(said: dict[str, Any]) -> None:
    if not said.get("nextPageToken"):
        said["nextPageToken"] = ENDLESS


def _twice(request: Request, answer: Answer, rng: Random) -> Answer:
    return with_list(answer, lambda records: [one for record in records for one in (record, record)])


LIST_TRAPS: dict[str, Trap] = {
    "pages of 3": Trap(_list_size(lambda rng: SMALL_PAGE)),
    "pages of any length": Trap(_list_size(lambda rng: rng.randint(1, 9))),
    "no token at the end": Trap(_list_size(lambda rng: 7), _token(_without_token)),
    "a null token at the end": Trap(_list_size(lambda rng: 7), _token(_null_token)),
    "an empty page first": Trap(_after_an_empty_page),
    "records twice": Trap(change=_twice),
    "the page token ignored": Trap(
        lambda request, rng: with_params(request, pageToken=None, pageSize=str(SMALL_PAGE)), refusal="does not end"
    ),
    "tokens without an end": Trap(_endless, _token(_endless_token), refusal="does not end"),
}
