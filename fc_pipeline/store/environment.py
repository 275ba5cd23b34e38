"""The shell's PG… variables: credentials and certificates may come from them, everything else from the URL.

libpq, which both drivers use, takes every parameter that a URL does not name from PG… variables: another port, another
session, a service file. Only changing the environment helps: PGSERVICE, PGTZ and others take precedence over any
parameter.
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
"""Variables that may complete a URL: credentials and certificates."""

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
"""Variables that are ignored; the same parameters in a URL work as usual."""

_log = logging.getLogger(__name__)
_changing = Lock()


def hide_postgres_variables() -> None:
    """Remove the variables that only a URL may set from this process's environment, and so from its children's.

    Called before each connection. What is removed is logged once.
    """
    with _changing:
        found = sorted(name for name in IGNORED if os.environ.pop(name, None) is not None)
    if found:
        _log.warning("postgres_variables_ignored names=%r hint=%r", ",".join(found), "say it in FC_POSTGRES_URL")
