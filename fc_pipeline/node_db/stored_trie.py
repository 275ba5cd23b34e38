"""The trie that a node keeps of a shard's live records, row by row (node-db 3.2)."""

from collections.abc import Iterator

from blake3 import blake3

from fc_pipeline.errors import NodeDatabaseError
from fc_pipeline.node_db.database import NodeShard
from fc_pipeline.node_db.keys import trie_key
from fc_pipeline.proof.descent import ToldNode
from fc_pipeline.proof.protobuf import Malformed, bytes_in, last_fields, number_in, read_fields
from fc_pipeline.proof.trie import HASH_BYTES, Node

__all__ = ["StoredTrie"]


class StoredTrie:
    """Reads nodes of one shard's trie. Raises NodeDatabaseError for a row that is none."""

    def __init__(self, shard: NodeShard) -> None:
        self._shard = shard

    def node(self, prefix: bytes) -> Node | None:
        """The node at a prefix of whole bytes; None where nothing is below it."""
        row = self._row(_path(prefix))
        return None if row is None else row.node

    def told(self, prefix: bytes) -> ToldNode | None:
        """The node at a prefix of whole bytes with its children, as a node's gRPC API tells of them."""
        path = _path(prefix)
        row = self._row(path)
        if row is None:
            return None
        children = {nibble: self._child(path, nibble).node for nibble in row.nibbles}
        return ToldNode(row.node, children)

    def leaves(self, prefix: bytes) -> Iterator[bytes]:
        """The whole keys of all leaves below a prefix of whole bytes, ascending."""
        path = _path(prefix)
        row = self._row(path)
        if row is not None:
            yield from self._leaves(path, row)

    def _leaves(self, path: bytes, row: "_Row") -> Iterator[bytes]:
        if not row.nibbles:
            yield _whole(row.key)
        for nibble in row.nibbles:
            yield from self._leaves(path + bytes((nibble,)), self._child(path, nibble))

    def _child(self, path: bytes, nibble: int) -> "_Row":
        found = self._row(path + bytes((nibble,)))
        if found is None:
            raise NodeDatabaseError(
                f"{self._shard.folder.path}: the trie lacks the node {path.hex()}{nibble:02x}",
                hint="the files are damaged, or were copied while the node was running: take another copy",
            )
        return found

    def _row(self, path: bytes) -> "_Row | None":
        value = self._shard.get(trie_key(path))
        if value is None:
            return None
        try:
            return _Row(value)
        except Malformed as error:
            raise NodeDatabaseError(f"{self._shard.folder.path}: a node of the trie is damaged: {error}") from error


class _Row:
    """A stored node. One without children is a leaf; what it has of hashes of children then is from before."""

    def __init__(self, value: bytes) -> None:
        fields = last_fields(value)
        self.key = bytes_in(fields, 1)
        self.nibbles = bytes(sorted(bytes_in(fields, 2)))
        if not self.nibbles:
            self.node = Node(1, blake3(self.key).digest(HASH_BYTES))
            return
        entries = (last_fields(one) for number, one in read_fields(value) if number == 4 and isinstance(one, bytes))
        hashes = {number_in(entry, 1): bytes_in(entry, 2) for entry in entries}
        missing = [nibble for nibble in self.nibbles if nibble not in hashes]
        if missing:
            raise Malformed(f"it lacks the hash of its child {missing[0]}")
        joined = b"".join(hashes[nibble] for nibble in self.nibbles)
        self.node = Node(number_in(fields, 3), blake3(joined).digest(HASH_BYTES))


def _path(prefix: bytes) -> bytes:
    return bytes(nibble for byte in prefix for nibble in (byte >> 4, byte & 15))


def _whole(path: bytes) -> bytes:
    return bytes(high << 4 | low for high, low in zip(path[::2], path[1::2], strict=True))
