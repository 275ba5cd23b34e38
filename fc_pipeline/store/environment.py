"""What Postgres' variables of the shell may say: who we are and whom we trust; all else is said by the URL.

libpq, which both drivers use, takes every parameter that a URL does not name from PG… variables: another port, another
session, a service file. Only the environment itself can be mended: PGSERVICE, PGTZ and others beat any parameter.
"""

import logging
import os
from threading import Lock
from typing import Final

__all__ = ["COMPLETING", "IGNORED", "hide_postgres_variables"]

COMPLETING: Final = frozenset(
    {
        "PGUSER",
        "PGPASSWORD",
        "PGPASSFILE",
        "PGKRBSRVNAME",
        "PGGSSLIB",
        "PGGSSDELEGATION",
        # Without it a connection would be less safe than the shell demands.
        "PGSSLMODE",
        "PGSSLROOTCERT",
        "PGSSLCERT",
        "PGSSLKEY",
        "PGSSLCRL",
        "PGSSLCRLDIR",
        # Where a service is found that the URL itself names, and libpq's own messages.
        "PGSERVICEFILE",
        "PGSYSCONFDIR",
        "PGLOCALEDIR",
    }
)
"""What may complete a URL that does not say it: who we are, and whom we trust."""

IGNORED: Final = frozenset(
    {
        # Where the server is, and which one will do.
        "PGHOST",
        "PGHOSTADDR",
        "PGPORT",
        "PGDATABASE",
        "PGSERVICE",
        "PGTARGETSESSIONATTRS",
        "PGLOADBALANCEHOSTS",
        # What the session is like.
        "PGOPTIONS",
        "PGCLIENTENCODING",
        "PGDATESTYLE",
        "PGTZ",
        "PGGEQO",
        "PGAPPNAME",
        # How it is connected to: a Unix socket, such as the embedded server's, cannot do what some of these ask for.
        "PGCONNECT_TIMEOUT",
        "PGREQUIREAUTH",
        "PGREQUIREPEER",
        "PGREQUIRESSL",
        "PGCHANNELBINDING",
        "PGGSSENCMODE",
        "PGSSLNEGOTIATION",
        "PGSSLCERTMODE",
        "PGSSLCOMPRESSION",
        "PGSSLSNI",
        "PGSSLMINPROTOCOLVERSION",
        "PGSSLMAXPROTOCOLVERSION",
        "PGMINPROTOCOLVERSION",
        "PGMAXPROTOCOLVERSION",
    }
)
"""What only a URL says; the same names, as parameters of a URL, do what they always do."""

_log = logging.getLogger(__name__)
_changing = Lock()


def hide_postgres_variables() -> None:
    """Take the variables out of this process' environment that only a URL is to say, and so out of its children's.

    Called before each connection. What is taken out is said once, in the log.
    """
    with _changing:
        found = sorted(name for name in IGNORED if os.environ.pop(name, None) is not None)
    if found:
        _log.warning("postgres_variables_ignored names=%r hint=%r", ",".join(found), "say it in FC_POSTGRES_URL")
