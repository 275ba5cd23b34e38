"""A hub that answers as fast as a socket can: what the sample hub says, written from memory from the second time on.

`python -m fc_pipeline_tests.benchmarks.memory_hub LOG SECONDS` prints its address; each answer takes so long, without
any work. One process, a raw asyncio protocol.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

from fc_pipeline.sample_hub.answers import Refusal, bad_query, refused
from fc_pipeline.sample_hub.app import ENDPOINTS
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.log import load_log
from fc_pipeline.sample_hub.query import BadQuery, Query

HEAD_END: Final = b"\r\n\r\n"


class _Answers(dict[bytes, bytes]):
    """Whole answers by the request's target."""

    def __init__(self, hub: SampleHub) -> None:
        super().__init__()
        self._hub = hub

    def __missing__(self, target: bytes) -> bytes:
        path, _, query = target.partition(b"?")
        try:
            response = ENDPOINTS[path.decode()](self._hub, Query(query))
        except Refusal as refusal:
            response = refused(refusal)
        except BadQuery as error:
            response = bad_query(str(error))
        body = bytes(response.body)
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self[target] = head % (response.status_code, len(body)) + body
        return self[target]


class _Connection(asyncio.Protocol):
    def __init__(self, answers: _Answers, delay_seconds: float) -> None:
        self._answers = answers
        self._delay_seconds = delay_seconds
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._unread = (self._unread + data).split(HEAD_END)
        for head in heads:
            answer = self._answers[head.split(b" ", 2)[1]]
            if self._delay_seconds:
                asyncio.get_running_loop().call_later(self._delay_seconds, self._transport.write, answer)
            else:
                self._transport.write(answer)


async def _serve(log_path: Path, delay_seconds: float) -> None:
    answers = _Answers(SampleHub(load_log(log_path)))
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(answers, delay_seconds), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), float(sys.argv[2])))
