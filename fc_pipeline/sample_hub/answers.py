"""How the hub answers: status, content type and body of every kind of answer (hub-api 1.3)."""

import json
from collections.abc import Iterable

from starlette.responses import Response

__all__ = ["CORS", "Refusal", "bad_query", "compact", "json_answer", "json_list", "json_object", "not_found", "refused"]

CORS = {"Access-Control-Allow-Origin": "*"}


class Refusal(Exception):
    """What a handler rejects: a JSON 400 with a fixed sentence, and the gRPC status in print where there is one."""

    def __init__(self, error: str, code: str | None = None, message: str = "", *, detail: str | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.detail = detail
        if code is not None:
            quoted = json.dumps(message, ensure_ascii=False)
            self.detail = f"status: {code}, message: {quoted}, details: [], metadata: MetadataMap {{ headers: {{}} }}"


def json_answer(body: bytes) -> Response:
    """200 with these bytes of JSON."""
    return Response(bytes(body), media_type="application/json", headers=CORS)


def compact(value: object) -> bytes:
    """JSON as the node writes it: no spaces, raw UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def json_object(value: object) -> Response:
    """200 with this value as JSON."""
    return json_answer(compact(value))


def json_list(name: str, rows: Iterable[bytes], next_page_token: str | None = None) -> Response:
    """200 with a list of JSON rows as they are, and the token unless None (then the key is left out)."""
    token = b"" if next_page_token is None else b',"nextPageToken":"' + next_page_token.encode() + b'"'
    return json_answer(b'{"' + name.encode() + b'":[' + b",".join(rows) + b"]" + token + b"}")


def refused(refusal: Refusal) -> Response:
    """400 with the JSON error of Snapchain."""
    body = compact({"error": refusal.error, "error_detail": refusal.detail})
    return Response(body, status_code=400, media_type="application/json", headers=CORS)


def bad_query(reason: str) -> Response:
    """400 in plain text without a content type."""
    return Response(f"Invalid query parameters: {reason}", status_code=400, headers=CORS)


def not_found() -> Response:
    """404 for an unknown path or method; never for an unknown object."""
    return Response("Not Found", status_code=404, headers=CORS)
