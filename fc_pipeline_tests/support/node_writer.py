"""Writes databases in a node's layout (node-db 2, 3): messages and contract events as told, with the trie and header.

A second description of the layout, apart from the reader's. Indexes, which a replica does not read, are left out.
"""

import hashlib
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blake3 import blake3
from rocksdict import Options, Rdict, WriteBatch

from fc_pipeline.proof.leaf_keys import fid_prefix
from fc_pipeline.proof.message_schema import BODIES, Writing, encoded_data
from fc_pipeline.proof.protobuf import bytes_field, number_field
from fc_pipeline.proof.trie import Nodes

__all__ = ["NodeWriter", "Stored", "home_of"]

EPOCH = 1_609_459_200
POSTFIXES = {
    "CAST_ADD": 1,
    "CAST_REMOVE": 1,
    "LINK_ADD": 2,
    "LINK_REMOVE": 2,
    "REACTION_ADD": 3,
    "REACTION_REMOVE": 3,
    "VERIFICATION_ADD_ETH_ADDRESS": 4,
    "VERIFICATION_REMOVE": 4,
    "USER_DATA_ADD": 6,
    "USERNAME_PROOF": 7,
    "LEND_STORAGE": 8,
    "CHANNEL_UPDATE": 9,
    "CHANNEL_MEMBER": 10,
    "CHANNEL_PIN": 11,
    "CHANNEL_MODERATE": 12,
}


def home_of(fid: int, shards: int) -> int:
    return int.from_bytes(hashlib.sha256(fid.to_bytes(4, "big")).digest()[:4], "big") % shards + 1


@dataclass(frozen=True)
class Stored:
    """A message as a node stores it."""

    kind: str
    fid: int
    timestamp: int
    body: Mapping[str, object]
    signer: bytes = b"\1" * 32


@dataclass
class NodeWriter:
    """One shard's database; `finish` writes the trie and the newest block."""

    path: Path
    shard: int
    height: int = 100
    unix: int = 1_795_876_851
    _batch: WriteBatch = field(init=False)
    _pending: int = 0
    _leaves: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    _registered: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        self._database = Rdict(str(self.path), options)
        self._batch = WriteBatch(raw_mode=True)

    def put(self, key: bytes, value: bytes) -> None:
        self._batch.put(key, value)
        self._pending += 1
        if self._pending >= 20_000:
            self._flush()

    def _flush(self) -> None:
        self._database.write(self._batch)
        self._batch = WriteBatch(raw_mode=True)
        self._pending = 0

    def message(self, one: Stored) -> bytes:
        """Store a message; its hash."""
        data = encoded_data(one.kind, one.fid, one.timestamp, 1, one.body, Writing())
        return self.signed(one.kind, one.fid, one.timestamp, data, one.signer, one.body)

    def signed(
        self,
        kind: str,
        fid: int,
        timestamp: int,
        data: bytes,
        signer: bytes = b"\1" * 32,
        body: Mapping[str, object] | None = None,
    ) -> bytes:
        """Store a message whose bytes are given; its hash."""
        digest = blake3(data).digest(20)
        value = b"".join(
            (
                bytes_field(1, data),
                bytes_field(2, digest),
                number_field(3, 1),
                bytes_field(4, b"\2" * 64),
                number_field(5, 1),
                bytes_field(6, signer),
            )
        )
        owner = b"\x03" + fid.to_bytes(4, "big")
        if kind == "LINK_COMPACT_STATE":
            name = str((body or {})["type"]).encode().ljust(8, b"\0")
            self.put(owner + b"\x64" + name, value)
        else:
            self.put(owner + bytes((POSTFIXES[kind],)) + timestamp.to_bytes(4, "big") + digest, value)
        self.leaf(fid, bytes((BODIES[kind].message_type << 3,)) + digest)
        return digest

    def stored(
        self, kind: str, fid: int, timestamp: int, data: bytes, message: Mapping[str, Any], body: Mapping[str, Any]
    ) -> None:
        """Store a message as the hub's JSON has it, whose bytes are given; the trie is told apart."""
        digest = bytes.fromhex(message["hash"][2:])
        value = b"".join(
            (
                bytes_field(2, digest),
                number_field(3, 1),
                bytes_field(4, b64decode(message["signature"])),
                number_field(5, 1),
                bytes_field(6, bytes.fromhex(message["signer"][2:])),
                bytes_field(7, data),
            )
        )
        owner = b"\x03" + (fid & 0xFFFFFFFF).to_bytes(4, "big")
        if kind == "LINK_COMPACT_STATE":
            self.put(owner + b"\x64" + str(body["type"]).encode().ljust(8, b"\0"), value)
            return
        self.put(owner + bytes((POSTFIXES[kind],)) + timestamp.to_bytes(4, "big") + digest, value)
        if kind == "LEND_STORAGE":
            borrower = (body["toFid"] & 0xFFFFFFFF).to_bytes(4, "big")
            self.put(b"\x16" + borrower + owner[1:], b"\1")

    def contract_event(self, kind: int, fid: int, block: int, log_index: int, body_number: int, body: bytes) -> None:
        """Store a contract event of a type's number."""
        transaction = hashlib.sha256(f"{kind}/{fid}/{block}/{log_index}".encode()).digest()
        value = b"".join(
            (
                number_field(1, kind),
                number_field(2, 10),
                number_field(3, block),
                number_field(5, self.unix - 1000),
                bytes_field(6, transaction),
                number_field(7, log_index),
                number_field(8, fid),
                bytes_field(body_number, body),
            )
        )
        key = b"\x0c\x01" + bytes((kind,)) + fid.to_bytes(4, "big")
        self.put(key + block.to_bytes(4, "big") + log_index.to_bytes(4, "big"), value)
        self.leaf(fid, bytes((kind,)) + transaction + log_index.to_bytes(4, "big"))

    def registered(self, fid: int) -> None:
        """Store a registration, an event of type 3."""
        self._registered.add(fid)
        body = bytes_field(1, fid.to_bytes(20, "big")) + number_field(2, 1) + bytes_field(4, b"\3" * 20)
        self.contract_event(3, fid, 1_000_000 + fid, 1, 11, body)
        self.put(b"\x0c\x34" + fid.to_bytes(4, "big"), b"")

    def signer(self, fid: int, key: bytes, app_fid: int) -> None:
        """Store a key that an app asked for, an event of type 1."""
        request = b"\0" * 31 + b"\x20" + app_fid.to_bytes(32, "big")
        body = bytes_field(1, key) + number_field(2, 1) + number_field(3, 1) + bytes_field(4, request) + b"\x28\x01"
        self.contract_event(1, fid, 2_000_000 + fid, 2, 9, body)

    def name(self, name: str, fid: int, unix: int) -> None:
        """Store an fname's proof."""
        value = b"".join(
            (
                number_field(1, unix),
                bytes_field(2, name.encode()),
                bytes_field(3, b"\4" * 20),
                bytes_field(4, b"\5" * 65),
                number_field(5, fid),
                number_field(6, 1),
            )
        )
        self.put(b"\x0b" + name.encode(), value)
        if fid:
            self.leaf(fid, b"\7" + name.encode().ljust(20, b"\0"))

    def leaf(self, fid: int, leaf: bytes) -> None:
        """Have the trie hold a leaf, as of a record that is stored or of one that is not."""
        self._leaves[fid].append(leaf)

    def without_leaf(self, fid: int, leaf: bytes) -> None:
        """Have the trie lack a leaf of a record that is stored."""
        self._leaves[fid].remove(leaf)

    def finish(self, *, whole_trie: bool = True) -> bytes:
        """Write the trie, of which only users and what is above them unless it is `whole`; the root."""
        parts: list[tuple[bytes, int, bytes]] = []
        fids = sorted(self._leaves)
        for start in range(0, len(fids), 2_000):
            keys = [fid_prefix(fid) + leaf for fid in fids[start : start + 2_000] for leaf in self._leaves[fid]]
            nodes = Nodes.of_leaves(keys)
            self._write_below(nodes, None if whole_trie else 10)
            parts += [(key.ljust(5, b"\0"), node.leaf_count, node.hash) for key, node in nodes.at(10).listed()]
        of_fids = Nodes.of_digests([p[0] for p in parts], [p[1] for p in parts], [p[2] for p in parts])
        root = self._write_above(of_fids)
        self.put(b"\x09" + (self.height << 14).to_bytes(8, "big"), b"")
        self.put(b"\x02" + self.height.to_bytes(8, "big"), self._chunk(root))
        self._flush()
        self._database.flush()
        self._database.close()
        (self.path / "rocksdict-config.json").unlink(missing_ok=True)
        return root

    def _write_below(self, nodes: Nodes, last_depth: int | None) -> None:
        """The nodes from users down to leaves, or to a depth."""
        deepest = int(nodes.depths.max(initial=10))
        for depth in range(10, deepest + 1 if last_depth is None else last_depth + 1):
            below = nodes.at(depth + 1) if depth < deepest else nodes
            children: dict[bytes, dict[int, tuple[bytes, int]]] = defaultdict(dict)
            for (key, node), at in zip(below.listed(), below.depths.tolist(), strict=True):
                path = _path(key)
                if at > depth:
                    children[path[:depth]][path[depth]] = (node.hash, node.leaf_count)
            for path, of_node in children.items():
                count = sum(leaves for _, leaves in of_node.values())
                self.put(b"\x08" + path, _node({nibble: one[0] for nibble, one in of_node.items()}, count))
        if last_depth is not None:
            return
        for key, at in zip((key for key, _ in nodes.listed()), nodes.depths.tolist(), strict=True):
            whole = _path(key)[: 2 * (42 if 0 < key[5] < 7 else 26)]
            self.put(b"\x08" + whole[:at], bytes_field(1, whole) + number_field(3, 1))

    def _write_above(self, of_fids: Nodes) -> bytes:
        for depth in range(10):
            below = of_fids.at(depth + 1)
            children: dict[bytes, dict[int, tuple[bytes, int]]] = defaultdict(dict)
            for key, node in below.listed():
                path = _path(key)
                children[path[:depth]][path[depth]] = (node.hash, node.leaf_count)
            for path, of_node in children.items():
                count = sum(leaves for _, leaves in of_node.values())
                self.put(b"\x08" + path, _node({nibble: one[0] for nibble, one in of_node.items()}, count))
        return of_fids.root.hash

    def _chunk(self, root: bytes) -> bytes:
        height = number_field(1, self.shard) + number_field(2, self.height)
        header = b"".join(
            (
                bytes_field(1, height),
                number_field(2, self.unix - EPOCH),
                bytes_field(3, b"\6" * 32),
                bytes_field(4, root),
            )
        )
        digest = blake3(header).digest()
        voted = number_field(1, self.shard) + bytes_field(2, digest)
        return (
            bytes_field(1, header)
            + bytes_field(2, digest)
            + bytes_field(4, bytes_field(1, height) + bytes_field(3, voted))
        )


def _node(children: Mapping[int, bytes], count: int) -> bytes:
    entries = b"".join(
        bytes_field(4, number_field(1, nibble) + bytes_field(2, digest)) for nibble, digest in children.items()
    )
    return bytes_field(2, bytes(children)) + number_field(3, count) + entries


def _path(key: bytes) -> bytes:
    return bytes(nibble for byte in key for nibble in (byte >> 4, byte & 15))


def write_node(path: Path, messages: Iterable[Stored], *, shards: int = 2) -> dict[int, bytes]:
    """A node's folder with these messages, whose authors are registered; the roots by shard."""
    writers = {shard: NodeWriter(path / f"shard-{shard}", shard) for shard in range(1, shards + 1)}
    seen: set[int] = set()
    for one in messages:
        writer = writers[home_of(one.fid, shards)]
        if one.fid not in seen:
            seen.add(one.fid)
            writer.registered(one.fid)
        writer.message(one)
    return {shard: writer.finish() for shard, writer in writers.items()}
