"""Text safe to show: without control and bidirectional characters; URLs without secrets."""

import re
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

__all__ = ["one_line", "plain", "shown_url"]

# Control characters of both sets (ESC, CSI, NEL, …) but line breaks and tabs, overrides and isolates of direction, line
# and paragraph separators, tags that no screen shows, and halves of surrogate pairs. Joiners stay: names of many
# languages and emoji need them.
_OBEYED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)

_HARMLESS: Final = frozenset(
    {"host", "hostaddr", "port", "db", "dbname", "user", "sslmode", "application_name", "region", "endpoint_override"}
)
"""Of the names in a URL's query, those whose values are no secrets."""


def plain(text: str, *, one_line: bool = False) -> str:
    """The text with such characters as escapes, as Python writes them; with `one_line`, also of line ends and tabs."""
    shown = _OBEYED.sub(_escaped, text)
    return re.sub("[\n\t]", _escaped, shown) if one_line else shown


def shown_url(url: str) -> str:
    """A URL without its password, and without what of its query may be one; percent-encoding undone. Paths stay."""
    if "://" not in url:
        return plain(url, one_line=True)
    before, separator, query = url.partition("?")
    scheme, slashes, rest = before.partition("://")
    userinfo, _, location = rest.rpartition("@")
    user = userinfo.partition(":")[0]
    kept = [
        (name, value)
        for name, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
        if name in _HARMLESS
    ]
    shown = scheme + slashes + (f"{user}@{location}" if user else location)
    return plain(unquote(shown + (separator + urlencode(kept, quote_via=quote) if kept else "")), one_line=True)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")


MAX_CHARACTERS: Final = 400
_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]+@")


def one_line(text: object) -> str:
    """The text in one line, shortened, without the user and password of a URL in it."""
    shown = _USERINFO.sub("", " ".join(str(text).split()))
    return plain(shown if len(shown) <= MAX_CHARACTERS else shown[: MAX_CHARACTERS - 1] + "…", one_line=True)
