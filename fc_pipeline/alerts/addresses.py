"""The addresses of FC_ALERT_URLS, and sending to them by Apprise.

Nothing of a URL is shown but its kind, as Apprise knows it: host and path are tokens as often as not. For the same
reason nothing that Apprise and its libraries log comes through.
"""

import hashlib
import logging
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from fc_pipeline.alerts.message import Message
from fc_pipeline.errors import ConfigError

__all__ = ["Address", "addresses_of"]

_NOT_INSTALLED_HINT: Final = "pip install 'fc-pipeline[alerts]', or pip install apprise; or unset FC_ALERT_URLS"
_NOTIFY_TYPES: Final = {"red": "failure", "yellow": "warning", "over": "success"}
_TELLING: Final = ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib", "slixmpp", "paho")
"""Loggers that may write an address, or what is sent."""
_HTTP_STATUS: Final = re.compile(r"error=([1-5]\d\d)\b")


@dataclass(frozen=True)
class Address:
    """One of the URLs: `name` may be shown; `key` is the same for the same URL, for what is kept on disk."""

    name: str
    key: str
    url: str = field(repr=False)

    def send(self, message: Message) -> str | None:
        """Send it; None where it was accepted, else the reason as far as it is known. Takes some seconds at most."""
        import apprise

        heard = _Heard()
        with _hushed(heard):
            sender: Any = apprise.Apprise(asset=_asset())
            sender.add(_plugin(self.url))
            try:
                accepted = sender.notify(
                    body=message.body,
                    title=message.title,
                    notify_type=apprise.NotifyType(_NOTIFY_TYPES.get(message.kind, "info")),
                    body_format=apprise.NotifyFormat.TEXT,
                )
            except Exception as error:  # of any of a hundred services; its text may quote the address
                return f"Apprise failed: {type(error).__name__}"
        return None if accepted else heard.reason()


def addresses_of(urls: Sequence[str]) -> list[Address]:
    """The addresses.

    Raises ConfigError where Apprise is not installed, or one of them is none that it can send to.
    """
    if not urls:
        return []
    try:
        import apprise  # noqa: F401  # pyright: ignore[reportUnusedImport] - an extra, which only who sets the setting needs
    except ImportError:
        raise ConfigError(
            "FC_ALERT_URLS is set, but Apprise, which sends to them, is not installed", hint=_NOT_INSTALLED_HINT
        ) from None
    found: list[Address] = []
    for number, url in enumerate(urls, 1):
        with _hushed(_Heard()):
            plugin = _plugin(url)
        if plugin is None:
            raise ConfigError(
                f"FC_ALERT_URLS has a URL, number {number}, that Apprise cannot send to",
                hint="https://appriseit.com/services lists the forms; docs/alerts.md has the common ones",
            )
        key = hashlib.sha256(url.encode()).hexdigest()[:16]
        found.append(Address(f"{number} ({plugin.service_name})", key, url))
    return found


def _plugin(url: str) -> Any:
    """What sends to the URL; None where nothing does.

    What is longer than a service takes (Discord 2,000 letters, Telegram 4,096) is refused there as a whole: it is sent
    in parts, unless the URL has another `overflow`.
    """
    import apprise

    plugin: Any = apprise.Apprise.instantiate(url, asset=_asset())
    if plugin is not None and plugin.overflow_mode is apprise.OverflowMode.UPSTREAM:
        plugin.overflow_mode = apprise.OverflowMode.SPLIT
    return plugin


def _asset() -> Any:
    import apprise

    return apprise.AppriseAsset(
        app_id="fc_pipeline", app_desc="fc_pipeline", app_url="", async_mode=False, secure_logging=True
    )


class _Heard(logging.Handler):
    """What is logged while a message is sent, of which only what holds no secret is told."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    def reason(self) -> str:
        said = "\n".join(self._lines)
        status = _HTTP_STATUS.search(said)
        if status is not None:
            return f"it answered with HTTP {status[1]}"
        if "onnection error" in said or "ocket" in said:
            return "it cannot be reached"
        return "it was not accepted"


@contextmanager
def _hushed(heard: _Heard) -> Generator[None]:
    loggers = [logging.getLogger(name) for name in _TELLING]
    before = [(logger.propagate, logger.handlers[:], logger.disabled) for logger in loggers]
    for logger in loggers:
        logger.propagate, logger.handlers, logger.disabled = False, [heard], False
    try:
        yield
    finally:
        for logger, (propagate, handlers, disabled) in zip(loggers, before, strict=True):
            logger.propagate, logger.handlers, logger.disabled = propagate, handlers, disabled
