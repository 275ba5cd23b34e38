"""A mail server that takes messages of one account by SMTP (RFC 5321), and keeps them."""

import socketserver
from base64 import b64decode
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from fc_pipeline_tests.support.served import served


@dataclass
class MailReceiver:
    """Whom it accepts, where it listens, and what arrived."""

    user: str
    password: str
    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list[EmailMessage])

    def accepts(self, credentials: bytes) -> bool:
        """By AUTH PLAIN (RFC 4616): an identity, the user and the password, each after a NUL."""
        return b64decode(credentials).split(b"\0")[1:] == [self.user.encode(), self.password.encode()]


class _Session(socketserver.StreamRequestHandler):
    receiver: MailReceiver

    def handle(self) -> None:
        self._say(220, "here")
        is_known = False
        while line := self.rfile.readline():
            command, _, rest = line.strip().partition(b" ")
            match command.upper():
                case b"EHLO":
                    self.wfile.write(b"250-here\r\n250 AUTH PLAIN\r\n")
                case b"AUTH":
                    is_known = self.receiver.accepts(rest.partition(b" ")[2])
                    self._say(*((235, "welcome") if is_known else (535, "wrong password")))
                case b"MAIL" if not is_known:
                    self._say(530, "log in first")
                case b"DATA":
                    self._say(354, "go on")
                    self.receiver.messages.append(self._message())
                    self._say(250, "kept")
                case b"QUIT":
                    self._say(221, "bye")
                    return
                case _:
                    self._say(250, "fine")

    def _message(self) -> EmailMessage:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        message = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(message, EmailMessage)
        return message

    def _say(self, code: int, text: str) -> None:
        self.wfile.write(f"{code} {text}\r\n".encode())


@contextmanager
def receiving_mail(user: str, password: str) -> Generator[MailReceiver]:
    receiver = MailReceiver(user, password)
    session = type("Session", (_Session,), {"receiver": receiver})
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), session)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    with served(server):
        yield receiver
