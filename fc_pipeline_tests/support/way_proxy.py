"""A proxy on this machine that leads to one server, whatever is asked for: it speaks HTTP, CONNECT and SOCKS5."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["WayProxy", "way_proxy"]


@dataclass
class WayProxy:
    """`target_port` is on this machine. `credentials` are wanted as user:password where they are not empty."""

    target_port: int
    credentials: str = ""
    port: int = 0
    wanted: list[str] = field(default_factory=list[str])
    """Host and port of each connection, as the client names them."""
    heads: list[str] = field(default_factory=list[str])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            first = await reader.readexactly(1)
            begun = await (self._socks(reader, writer) if first == b"\x05" else self._http(first, reader, writer))
            if begun is not None:
                await self._relay(begun, reader, writer)
        writer.close()

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        ways = await reader.readexactly((await reader.readexactly(1))[0])
        way = 2 if self.credentials else 0
        if way not in ways:
            writer.write(b"\x05\xff")
            return None
        writer.write(bytes([5, way]))
        if way:
            user = await reader.readexactly((await reader.readexactly(2))[1])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            is_right = f"{user.decode()}:{password.decode()}" == self.credentials
            writer.write(b"\x01\x00" if is_right else b"\x01\x01")
            if not is_right:
                return None
        kind = (await reader.readexactly(4))[3]
        host = await reader.readexactly((await reader.readexactly(1))[0] if kind == 3 else 4)
        named = host.decode() if kind == 3 else ".".join(map(str, host))
        self.wanted.append(f"{named}:{int.from_bytes(await reader.readexactly(2), 'big')}")
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        return b""

    async def _http(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        head = first + await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        method, target, _ = head.decode().split(" ", 2)
        if method != "CONNECT":
            self.wanted.append(target.split("/")[2])
            return head
        self.wanted.append(target)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        return b""

    async def _relay(self, begun: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_target, to_target = await asyncio.open_connection("127.0.0.1", self.target_port)
        to_target.write(begun)
        await asyncio.gather(_copied(reader, to_target), _copied(from_target, writer))


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def way_proxy(target_port: int, credentials: str = "") -> AsyncGenerator[WayProxy]:
    """It listens within the block."""
    proxy = WayProxy(target_port, credentials)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
