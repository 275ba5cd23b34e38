"""One hub over HTTP: GET requests with retries, time and size limits, a request budget, and clear errors.

The time limit is on progress, not on the whole answer: the first byte must come within seconds, and then further bytes
at intervals. This tells a hub that hangs from a large page over a slow line.

What an answer means follows hub-api 1.3 and 1.6: 429, 5xx and disconnects are worth a retry; 400 is a refusal, except
where its detail reports an error of the hub's own store; 404 never means "no such object".
"""

import asyncio
import json
import random as random_module
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote_plus

from fc_pipeline.errors import HubRefused, HubUnavailable
from fc_pipeline.hub.budget import MAX_RETRY_AFTER_SECONDS
from fc_pipeline.hub.connections import Answer, BrokenOff, ConnectError, HubConnections, Unanswered
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.request_counts import REQUEST_COUNTS
from fc_pipeline.hub.shared_budget import budget_of
from fc_pipeline.plain_text import plain

__all__ = [
    "HubBodyTooLarge",
    "HubClient",
    "HubDisconnected",
    "HubKeyRefused",
    "HubLacksEndpoint",
    "HubMalformed",
    "Params",
    "Timeouts",
]

T = TypeVar("T")
Params = Mapping[str, str | int] | Sequence[tuple[str, str | int]]
"""Query parameters; brackets in names stay as they are (hub-api 1.2), everything else is percent-encoded."""

MEBIBYTE: Final = 1024 * 1024
EXCERPT_CHARACTERS: Final = 200
ERROR_BODY_BYTES: Final = 64 * 1024
FIRST_BACKOFF_SECONDS: Final = 0.25
MAX_BACKOFF_SECONDS: Final = 10.0
STORE_ERROR_RETRIES: Final = 2
MAX_CONNECTIONS: Final = 32
MIN_PROGRESS_BYTES: Final = 4 * 1024
"""Bytes of a body that must arrive within `Timeouts.progress_seconds`: a byte per second is no progress."""
FAILOVER_AFTER_SECONDS: Final = 1.5
"""If there is another hub, a failing one is retried no longer than this."""
SPREAD_SECONDS: Final = 10.0
API_KEY_HINT: Final = "check the API key in FC_HUB_HEADERS and what its plan allows"
NO_HUB_HINT: Final = "is this address in FC_HUB_URLS a Snapchain hub's HTTP API?"


class HubDisconnected(HubUnavailable):
    """The hub closed the connection without any answer, again and again (hub-api T3), or its proxy says so (502)."""


class HubBodyTooLarge(HubUnavailable):
    """The answer exceeds the client's size limit (hub-api T23); a smaller page may help."""


class HubMalformed(HubUnavailable):
    """The answer is not the JSON expected, again and again; `body` is what came last."""

    def __init__(self, message: str, *, hint: str | None = None, body: bytes = b"") -> None:
        super().__init__(message, hint=hint)
        self.body = body


class HubLacksEndpoint(HubRefused):
    """404: the hub, or its release, has no such endpoint; it never means "no such object" (hub-api 1.3)."""


class HubKeyRefused(HubRefused):
    """401, 402 or 403: a proxy in front of the hub wants another API key or plan."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds until an answer's first byte, connecting included, and within which more of its body must come.

    To tolerate slow hubs, if there is no other hub, each further attempt gets twice the time, up to `max_seconds`, and
    so do the next requests to a hub that was slow.
    """

    first_byte_seconds: float = 3.0
    progress_seconds: float = 3.0
    max_seconds: float = 30.0


@dataclass
class _Line:
    """The state of the connections to a hub, shared by its clients; `lacking` are the paths that it answered 404."""

    first_byte_seconds: float = 0.0
    spread_until: float = float("-inf")
    lacking: set[str] = field(default_factory=set[str])


class _FailedAttempt(Exception):
    """A failed attempt that may be retried: the answer, and the error to raise if the retries fail."""

    def __init__(
        self,
        what: str,
        error: Callable[[str], HubUnavailable] = HubUnavailable,
        *,
        retry_after_seconds: float | None = None,
        max_retries: int | None = None,
        is_silence: bool = False,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.error = error
        self.retry_after_seconds = retry_after_seconds
        self.max_retries = max_retries
        self.is_silence = is_silence


class HubClient:
    """GETs from one hub. An async context manager; safe for many tasks of one event loop.

    `retries` counts the attempts after the first, `requests` every attempt. `has_alternative` says whether another hub
    could be asked instead. `sleep` (seconds), `random` (0…1), `clock` (monotonic seconds) and `now` (unix seconds) are
    injected by tests.
    """

    def __init__(
        self,
        endpoint: HubEndpoint,
        *,
        retries: int = 5,
        timeouts: Timeouts | None = None,
        max_body_bytes: int = 64 * MEBIBYTE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random_module.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.endpoint = endpoint
        self.requests = 0
        self.has_alternative: Callable[[], bool] = lambda: False
        self.budget = budget_of(endpoint, clock=clock, sleep=sleep)
        self._retries = retries
        self._timeouts = timeouts or Timeouts()
        self._max_body_bytes = max_body_bytes
        self._sleep = sleep
        self._random = random
        self._now = now
        self._clock = clock
        self._line = _Line()
        # A request that waits for its turn does not wait for the hub.
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)
        self._connections = HubConnections(endpoint)

    @property
    def name(self) -> str:
        """The hub's address without anything secret."""
        return self.endpoint.name

    def counting(self) -> "HubClient":
        """The same connections and budget, with a count of `requests` of its own; not to be closed."""
        twin = copy(self)
        twin.requests = 0
        return twin

    @property
    def may_be_several(self) -> bool:
        """Whether more nodes than one may answer for this address, each at a height of its own."""
        return not self.endpoint.is_loopback or self._line.spread_until > float("-inf")

    def lacks(self, path: str) -> bool:
        """Whether the hub answered 404 to this path, so that it need not be asked again."""
        return path in self._line.lacking

    def ask_another_node(self) -> None:
        """Use new connections for the next requests: the node that answered is behind another one at this address."""
        self._line.spread_until = self._clock() + SPREAD_SECONDS

    async def __aenter__(self) -> Self:
        """Nothing is sent yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()
        await self.budget.close()

    async def get(self, path: str, params: Params = ()) -> bytes:
        """The body of a 200 that is JSON by its brackets; `path` like "/v1/info". Errors as in `read`."""
        return await self.read(path, params, bytes)

    async def read(
        self,
        path: str,
        params: Params,
        parse: Callable[[bytes], T],
        *,
        retries: int | None = None,
        internal_is_transient: bool = True,
    ) -> T:
        """What `parse` makes of the answer; a ValueError from it is a broken answer, worth a retry.

        `internal_is_transient`: whether a 400 with `status: Internal` is retried; not for eventById, which says
        "not found" so (hub-api 1.3). Raises HubUnavailable (HubDisconnected, HubBodyTooLarge, HubMalformed) when the
        retries are used up or the hub asks to wait for longer than a minute, HubRefused (HubKeyRefused,
        HubLacksEndpoint) at once.
        """
        query = _encoded(params)
        request = f"{path}?{query}" if query else path
        retries = self._retries if retries is None else retries
        attempt = 0
        began = self._clock()
        while True:
            self._refuse_long_pause(request)
            await self.budget.acquire()
            self._refuse_long_pause(request)
            try:
                return await self._attempt(request, parse, internal_is_transient, 2.0**attempt)
            except _FailedAttempt as failure:
                REQUEST_COUNTS.failed(self.name)
                allowed = retries if failure.max_retries is None else min(retries, failure.max_retries)
                if self.has_alternative() and (failure.is_silence or self._clock() - began > FAILOVER_AFTER_SECONDS):
                    allowed = 0
                if failure.retry_after_seconds is not None:
                    self.budget.pause(failure.retry_after_seconds)
                if attempt >= allowed:
                    tried = f" ({attempt + 1} attempts)" if attempt else ""
                    raise failure.error(f"{self._asked(request)}: {failure.what}{tried}") from failure.__cause__
                self._refuse_long_pause(request, failure.what)
            await self._sleep(self._backoff_seconds(attempt))
            attempt += 1

    async def _attempt(
        self, request: str, parse: Callable[[bytes], T], internal_is_transient: bool, timeout_factor: float
    ) -> T:
        try:
            async with self._turns:
                body = await self._send(request, internal_is_transient, timeout_factor)
        except Unanswered as error:
            raise _FailedAttempt("the connection was closed without an answer", HubDisconnected) from error
        except ConnectError as error:
            reason = self.endpoint.redacted(str(error))
            # An error that quotes a header must not be the cause either.
            raise _FailedAttempt(f"ConnectError: {reason}") from (error if reason == str(error) else None)
        try:
            return parse(body)
        except (ValueError, RecursionError) as error:
            what = f"200 with a body that is not the JSON expected ({error}): {self._excerpt(body)}"
            raise _FailedAttempt(what, partial(HubMalformed, body=body)) from error

    async def _send(self, request: str, internal_is_transient: bool, timeout_factor: float) -> bytes:
        self.requests += 1
        REQUEST_COUNTS.sent(self.name)
        answer = await self._first_byte(request, timeout_factor)
        try:
            if answer.status == 200:
                body = await self._bounded_body(answer, timeout_factor)
                if not _is_like_json(body):
                    raise _FailedAttempt(f"200 with a body that is not JSON or cut short: {self._excerpt(body)}")
                return body
            body = await self._start_of_body(answer, timeout_factor)
        except BrokenOff as error:
            raise _FailedAttempt(f"{answer.status}, then the connection broke within the body") from error
        finally:
            answer.close()
        raise self._not_ok(request, answer, body, internal_is_transient)

    async def _first_byte(self, request: str, timeout_factor: float) -> Answer:
        """The answer, of which status and headers are here."""
        limits = self._timeouts
        usual = limits.first_byte_seconds
        if not self.has_alternative():
            usual = max(usual, 2 * self._line.first_byte_seconds)
        seconds = min(usual * timeout_factor, max(limits.max_seconds, limits.first_byte_seconds))
        is_spread = self._clock() < self._line.spread_until
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                answer = await self._connections.get(request, on_a_new_one=is_spread)
        except TimeoutError as error:
            raise _FailedAttempt(f"timed out: no answer within {seconds:.3g} s", is_silence=True) from error
        self._line.first_byte_seconds = time.monotonic() - began
        return answer

    async def _bounded_body(self, answer: Answer, timeout_factor: float) -> bytes:
        """The whole body, as long as it makes progress."""
        if answer.is_whole:
            body = await answer.chunk()
            self._refuse_more_than_bound(len(body))
            return body
        chunks: list[bytes] = []
        size = size_then = 0
        seconds = min(self._timeouts.progress_seconds * timeout_factor, self._timeouts.max_seconds)
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(seconds) as limit:
                while chunk := await answer.chunk():
                    size += len(chunk)
                    self._refuse_more_than_bound(size)
                    chunks.append(chunk)
                    if size - size_then >= MIN_PROGRESS_BYTES:
                        size_then = size
                        limit.reschedule(now() + seconds)
        except TimeoutError as error:
            what = f"timed out: {size - size_then} bytes within {seconds:.3g} s, {size} of the answer in all"
            raise _FailedAttempt(what, is_silence=True) from error
        return b"".join(chunks)

    def _refuse_more_than_bound(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise _FailedAttempt(f"200 with more than {self._max_body_bytes} bytes", HubBodyTooLarge, max_retries=0)

    async def _start_of_body(self, answer: Answer, timeout_factor: float) -> bytes:
        """The beginning of an error's body: what arrives in time."""
        body = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.progress_seconds * timeout_factor):
                while chunk := await answer.chunk():
                    body += chunk
                    if len(body) >= ERROR_BODY_BYTES:
                        break
        return body

    def _not_ok(
        self, request: str, answer: Answer, body: bytes, internal_is_transient: bool
    ) -> _FailedAttempt | HubRefused:
        status = answer.status
        what = f"{status} {self._excerpt(body)}".rstrip()
        if status == 502:
            return _FailedAttempt(what, HubDisconnected, retry_after_seconds=self._retry_after(answer))
        if status in (408, 425, 429) or status >= 500:
            return _FailedAttempt(what, retry_after_seconds=self._retry_after(answer))
        if status in (401, 402, 403):
            return HubKeyRefused(f"{self._asked(request)}: {what}", hint=API_KEY_HINT)
        if status == 400:
            detail = self.endpoint.redacted(_error_detail(body))
            transient = (
                ("status: Unavailable", "status: Internal") if internal_is_transient else ("status: Unavailable",)
            )
            if detail.startswith(transient):
                return _FailedAttempt(what, max_retries=STORE_ERROR_RETRIES)
            return HubRefused(f"{self._asked(request)}: {what}", detail=detail)
        if status == 404:
            self._line.lacking.add(request.partition("?")[0])
            return HubLacksEndpoint(f"{self._asked(request)}: {what}", hint=NO_HUB_HINT)
        return HubRefused(f"{self._asked(request)}: {what}", hint=NO_HUB_HINT)

    def _excerpt(self, body: bytes) -> str:
        """The beginning of a body for a message: one line without control characters and secrets."""
        text = self.endpoint.redacted(body[:ERROR_BODY_BYTES].decode("utf-8", "replace"))
        return plain(" ".join(text.split())[:EXCERPT_CHARACTERS])

    def _asked(self, request: str) -> str:
        return f"hub {self.name} GET {request}"

    def _refuse_long_pause(self, request: str, what: str = "") -> None:
        if self.budget.paused_seconds > MAX_RETRY_AFTER_SECONDS:
            asks = f"the hub asks to be left alone for {self.budget.paused_seconds:.0f} s more (Retry-After)"
            raise HubUnavailable(f"{self._asked(request)}: {what + '; ' if what else ''}{asks}")

    def _backoff_seconds(self, attempt: int) -> float:
        longest = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**attempt)
        return longest * (0.5 + self._random() / 2)

    def _retry_after(self, answer: Answer) -> float | None:
        """Seconds to wait, from either form of the header; None without one that can be read."""
        value = answer.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return float(value)
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - self._now_of(answer))

    def _now_of(self, answer: Answer) -> float:
        """Unix seconds by the clock that the answer's dates are of; by ours where it does not say."""
        try:
            return parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except ValueError:
            return self._now()


def _encoded(params: Params) -> str:
    """As `urlencode` does it, in a third of its time: numbers and most names have nothing to encode."""
    pairs = params.items() if isinstance(params, Mapping) else params
    return "&".join([f"{_quoted(name)}={_quoted(value) if isinstance(value, str) else value}" for name, value in pairs])


def _quoted(text: str) -> str:
    return text if text.isascii() and text.isalnum() else quote_plus(text, safe="[]")


def _is_like_json(body: bytes) -> bool:
    """Whether it is not plainly cut short or no JSON at all; the whole of it is parsed once, by the reader."""
    text = body.strip()
    return (text[:1], text[-1:]) in ((b"{", b"}"), (b"[", b"]"))


def _error_detail(body: bytes) -> str:
    """What a refusal says: `error_detail`, else `error`, else Hubble's `details`, else the text (hub-api 1.3)."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        for key in ("error_detail", "error", "details"):
            value: object = answer.get(key)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            if isinstance(value, str):
                return value
    return body.decode("utf-8", "replace")
