"""Looking for secrets wherever a pipeline leaves something: outputs, files, Parquet, tables of its databases, Redis."""

import re
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import redis
import sqlalchemy as sa

_HEX = re.compile(rb"\\x([0-9a-f]{2,})")
_TABLES = sa.text(
    "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
    "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
)


class Canaries:
    """Secrets by name. Each is found as it is, percent-encoded, in base64 and in hex."""

    def __init__(self, **secrets: str) -> None:
        self._forms = {
            name: {form for one in {secret, quote(secret, safe="")} for form in _forms(one.encode())}
            for name, secret in secrets.items()
        }

    def in_bytes(self, content: bytes) -> set[str]:
        """The names of the secrets in the content; also in bytea as Postgres shows it, and in what zlib has packed."""
        parts = [
            content,
            *(
                _unpacked(bytes.fromhex(found[1][: len(found[1]) // 2 * 2].decode()))
                for found in _HEX.finditer(content)
            ),
        ]
        return {name for name, forms in self._forms.items() if any(form in part for part in parts for form in forms)}

    def in_text(self, text: str) -> set[str]:
        return self.in_bytes(text.encode())

    def in_files(self, folder: Path) -> Mapping[str, set[str]]:
        """Per file below a folder what was found in it and its name."""
        found = {
            str(path.relative_to(folder)): self.in_bytes(_content(path)) | self.in_text(path.name)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return {name: names for name, names in found.items() if names}

    def in_database(self, sqlalchemy_url: str) -> Mapping[str, set[str]]:
        """Per table of a database what was found in its rows."""
        engine = sa.create_engine(sqlalchemy_url, poolclass=sa.pool.NullPool)
        found: dict[str, set[str]] = {}
        with engine.connect() as connection:
            tables = connection.scalars(_TABLES).all()
            assert tables
            for table in tables:
                rows = connection.exec_driver_sql(f"SELECT t::text FROM {table} AS t").scalars()
                names = set().union(*(self.in_text(row) for row in rows))
                if names:
                    found[table] = names
        return found

    def in_redis(self, url: str) -> set[str]:
        with redis.Redis.from_url(url) as client:
            return set().union(*(self.in_bytes(key + (client.dump(key) or b"")) for key in client.scan_iter()))


def _forms(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret.hex().encode()
    for shift in range(3):  # the same bytes look different in base64 by where they begin
        encoded = b64encode(b"\0" * shift + secret)
        yield encoded[4 if shift else 0 : -4]


def _unpacked(content: bytes) -> bytes:
    try:
        return content + zlib.decompress(content)
    except zlib.error:
        return content


def _content(path: Path) -> bytes:
    if path.suffix != ".parquet":
        return path.read_bytes()
    table = pq.ParquetFile(path).read()
    return f"{table.schema.metadata} {table.to_pylist()}".encode()
