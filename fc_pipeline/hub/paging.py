"""Walks over the pages of the hub's lists until their end, which every family of endpoints marks differently.

hub-api 6.1 and 6.3: a missing, null or empty token ends a list, a short page does not.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from fc_pipeline.errors import HubError
from fc_pipeline.hub.broken_page import DECODE_ERRORS, MalformedPage, split_list

__all__ = ["ListPage", "fids_page", "raw_page", "walk"]

T = TypeVar("T")

MAX_IDLE_PAGES: Final = 100
"""How many pages in a row may have nothing new: a page of `/v1/fids` counts events, not FIDs (hub-api 6.3)."""


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    """The items of one page, and the token of the next one; None at the end."""

    items: list[T]
    token: str | None


class _Fids(msgspec.Struct, gc=False):
    fids: list[int]
    nextPageToken: str | None = None


_TOKEN_KEYS: Final = ("nextPageToken", "next_page_token")
_TOKEN: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)
_FIDS = msgspec.json.Decoder(_Fids)
_LISTS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])


def raw_page(name: str) -> Callable[[bytes], ListPage[bytes]]:
    """A parser of pages `{name: […], "nextPageToken": …}` into the raw JSON of each item.

    A record that is no valid JSON stays one raw item. The parser raises MalformedPage if there is no such list.
    """

    def parse(body: bytes) -> ListPage[bytes]:
        try:
            lists = _LISTS.decode(body)
            items = [bytes(raw) for raw in _RAWS.decode(lists[name])]
            token = next(filter(None, (_TOKEN.decode(lists[key]) for key in _TOKEN_KEYS if key in lists)), None)
        except KeyError as error:
            raise MalformedPage(f"no list named {name!r}") from error
        except DECODE_ERRORS as error:
            items, rest = split_list(body, name, error)
            match = re.search(rb'"nextPageToken"\s*:\s*"([^"\\]*)"', rest)
            return ListPage(items, (match[1].decode() or None) if match else None)
        return ListPage(items, token)

    return parse


def fids_page(body: bytes) -> ListPage[int]:
    """One page of `/v1/fids`: may be short or empty and still have a token (hub-api 6.3)."""
    page = _FIDS.decode(body)
    return ListPage(page.fids, page.nextPageToken or None)


async def walk(
    ask: Callable[[str | None], Awaitable[ListPage[T]]], asked: Callable[[], str] = str
) -> AsyncIterator[list[T]]:
    """Every page's items, empty pages left out; `ask` gets the token of a page, None for the first.

    Raises HubError if the list would never end: a token comes a second time, or page after page brings nothing new. It
    says what was `asked` of which hub.
    """
    page = await ask(None)
    if page.items:
        yield page.items
    if page.token is None:
        return
    end = _Endlessness(asked)
    pages = {hash(tuple(page.items))}
    end.note(page.token, is_new=bool(page.items))
    while page.token is not None:
        page = await ask(page.token)
        if page.items:
            yield page.items
        if page.token is not None:
            content = hash(tuple(page.items))
            end.note(page.token, is_new=bool(page.items) and content not in pages)
            pages.add(content)


class _Endlessness:
    """Detects a list of the hub that does not end."""

    def __init__(self, asked: Callable[[], str]) -> None:
        self._asked = asked
        self._tokens: set[str] = set()
        self._idle_pages = 0

    def note(self, token: str, *, is_new: bool) -> None:
        """One more page, with the token of the next one. Raises HubError."""
        if token in self._tokens:
            raise HubError(f"{self._asked()}: the list does not end: the page token {token[:80]!r} came twice")
        self._tokens.add(token)
        self._idle_pages = 0 if is_new else self._idle_pages + 1
        if self._idle_pages >= MAX_IDLE_PAGES:
            raise HubError(
                f"{self._asked()}: the list does not end: {MAX_IDLE_PAGES} pages in a row without anything new"
            )
