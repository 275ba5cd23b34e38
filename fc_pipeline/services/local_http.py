"""One request to an HTTP server of ours on this machine, as to see whether it answers yet. No proxy is asked."""

import json
from contextlib import closing
from http.client import HTTPConnection, HTTPException

__all__ = ["local_answer"]


def local_answer(port: int, path: str, post: object = None, *, timeout_seconds: float) -> tuple[int, bytes]:
    """Status and body of a GET, or of a POST of a value as JSON. Raises OSError where no answer comes."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)) as connection:
        try:
            if post is None:
                connection.request("GET", path)
            else:
                connection.request("POST", path, json.dumps(post), {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except HTTPException as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
