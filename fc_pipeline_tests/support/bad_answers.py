"""Every way in which an answer of a hub, or of what stands before it, goes wrong on its way (hub-api 1.3, 1.6)."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from random import Random
from typing import Literal

__all__ = ["BAD_ANSWERS", "GOOD", "Answer"]

HTML = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>checking your browser</body></html>"


@dataclass(frozen=True)
class Answer:
    """What is sent: `sent` bytes of the body if not all; then the connection is kept, closed, reset, or hangs."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    sent: int | None = None
    then: Literal["keep", "close", "reset", "hang"] = "keep"
    silent: bool = False
    """Not even a status line is sent."""


def json_error(error: str, detail: str, status: int = 400) -> Answer:
    """A refusal in Snapchain's form (hub-api 1.3)."""
    said = f"status: {detail}, details: [], metadata: MetadataMap {{ headers: {{}} }}"
    body = json.dumps({"error": error, "error_detail": said}).encode()
    return Answer(status, body, {"content-type": "application/json"})


def _plain(status: int, text: str, **headers: str) -> Callable[[Answer, Random], Answer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda answer, rng: Answer(status, text.encode(), {"content-type": "text/plain", **named})


def _retry_after_date(answer: Answer, rng: Random) -> Answer:
    # Of a server whose clock is a little behind: the moment is over already.
    return Answer(429, b"slow down", {"retry-after": formatdate(0, usegmt=True)})


def _cut_within(answer: Answer, then: Literal["close", "reset", "hang"], rng: Random) -> Answer:
    return replace(answer, sent=rng.randrange(len(answer.body)) if answer.body else 0, then=then)


def _truncated(answer: Answer, rng: Random) -> Answer:
    return replace(answer, body=answer.body[: rng.randrange(1, max(2, len(answer.body)))])


def _truncated_at_a_bracket(answer: Answer, rng: Random) -> Answer:
    """Cut behind a closing bracket, so that it looks whole to who looks at its ends alone."""
    ends = [place + 1 for place, byte in enumerate(answer.body[:-1]) if byte == ord("}")]
    return replace(answer, body=answer.body[: rng.choice(ends)] if ends else b"{}")


BAD_ANSWERS: dict[str, Callable[[Answer, Random], Answer]] = {
    "429": _plain(429, "Too Many Requests"),
    "429 with Retry-After": _plain(429, "Too Many Requests", retry_after="1"),
    "429 with a date": _retry_after_date,
    "500": _plain(500, "Internal Server Error"),
    "502": _plain(502, "Bad Gateway"),
    "503": _plain(503, "Service Unavailable", retry_after="0"),
    "504": _plain(504, "Gateway Time-out"),
    "closed": lambda answer, rng: replace(answer, silent=True, then="close"),
    "reset": lambda answer, rng: replace(answer, silent=True, then="reset"),
    "closed within the body": lambda answer, rng: _cut_within(answer, "close", rng),
    "reset within the body": lambda answer, rng: _cut_within(answer, "reset", rng),
    "silence": lambda answer, rng: replace(answer, silent=True, then="hang"),
    "silence within the body": lambda answer, rng: _cut_within(answer, "hang", rng),
    "truncated JSON": _truncated,
    "truncated JSON that ends well": _truncated_at_a_bracket,
    "HTML with 200": lambda answer, rng: Answer(200, HTML, {"content-type": "text/html"}),
    "nothing with 200": lambda answer, rng: Answer(200, b"", {"content-type": "application/json"}),
    "a JSON error with 200": lambda answer, rng: Answer(200, b'{"error":"upstream request failed"}'),
    "an empty object with 200": lambda answer, rng: Answer(200, b"{}"),
    "400 that says Internal": lambda answer, rng: json_error("Failed to get events", 'Internal, message: "db"'),
    "400 that says Unavailable": lambda answer, rng: json_error("Failed to get fids", 'Unavailable, message: "db"'),
    "400 that refuses": lambda answer, rng: json_error("Failed", 'InvalidArgument, message: "no shard store for fid"'),
}

GOOD = "good"
