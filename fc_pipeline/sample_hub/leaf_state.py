"""The live records of a shard as of the visible log, as leaves of its trie: a plain model of node-db 3.6.

It shares nothing with the pipeline's fold but how a leaf's key is made and hashed. Leaves of gasless keys, which no
event tells of, are in no sample hub's trie.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from fc_pipeline.proof.descent import ToldNode
from fc_pipeline.proof.leaf_keys import (
    CONTRACT_EVENT_TYPES,
    FID_PREFIX_BYTES,
    MESSAGE_TYPES,
    contract_event_leaf,
    fid_prefix,
    fname_leaf,
    message_leaf,
)
from fc_pipeline.proof.trie import FID_DEPTH, VIRTUAL_SHARD_DEPTH, Node, Nodes
from fc_pipeline.sample_hub.state import LINK_COMPACTION_BY_TYPE

__all__ = ["LeafModel", "ShardTrie"]


class LeafModel:
    """Trie keys after some events of one shard, given in the order of their ids; `touched` are FIDs' prefixes."""

    def __init__(self) -> None:
        self.by_fid: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self.touched: set[bytes] = set()
        self._links: defaultdict[int, dict[str, Any]] = defaultdict(dict)
        self._compact_states: dict[tuple[int, str], Any] = {}
        self._name_holders: dict[str, int] = {}

    @property
    def keys(self) -> set[bytes]:
        """All of them."""
        return set().union(*self.by_fid.values())

    def fold(self, event: dict[str, Any]) -> None:
        """Take one event in. Raises KeyError, TypeError and ValueError for one whose body is not as hubs write it."""
        if body := event.get("mergeMessageBody"):
            for deleted in body["deletedMessages"]:
                self._drop(deleted)
            self._merge(body["message"])
        elif body := event.get("pruneMessageBody") or event.get("revokeMessageBody"):
            self._drop(body["message"])
        elif body := event.get("mergeOnChainEventBody"):
            self._contract_event(body["onChainEvent"])
        elif body := event.get("mergeUsernameProofBody"):
            self._prove(body)

    def _merge(self, message: dict[str, Any]) -> None:
        kind = message["data"]["type"]
        if kind.endswith("LINK_COMPACT_STATE"):
            self._compact(message)
        elif kind.endswith(("LINK_ADD", "LINK_REMOVE")):
            self._links[message["data"]["fid"]][message["hash"]] = message
        self._add(_message_keys(message))

    def _drop(self, message: dict[str, Any]) -> None:
        self._discard(_message_keys(message))
        self._links[message["data"]["fid"]].pop(message["hash"], None)

    def _compact(self, message: dict[str, Any]) -> None:
        data = message["data"]
        body = data["linkCompactStateBody"]
        if former := self._compact_states.get((data["fid"], body["type"])):
            self._drop(former)
        self._compact_states[data["fid"], body["type"]] = message
        is_of_all_types = data["timestamp"] < LINK_COMPACTION_BY_TYPE
        for link in list(self._links[data["fid"]].values()):
            said = link["data"]["linkBody"]
            is_kept = link["data"]["type"].endswith("LINK_ADD") and said["targetFid"] in body["targetFids"]
            is_masked = said["type"] == body["type"] or is_of_all_types
            if is_masked and link["data"]["timestamp"] <= data["timestamp"] and not is_kept:
                self._drop(link)

    def _contract_event(self, event: dict[str, Any]) -> None:
        kind = CONTRACT_EVENT_TYPES[event["type"].removeprefix("EVENT_TYPE_")]
        leaf = contract_event_leaf(kind, bytes.fromhex(event["transactionHash"][2:]), event["logIndex"])
        self._add([fid_prefix(event["fid"]) + leaf])

    def _prove(self, body: dict[str, Any]) -> None:
        """A signed proof is a message like others; an fname's is none."""
        if deleted := body.get("deletedUsernameProofMessage"):
            self._drop(deleted)
        if message := body.get("usernameProofMessage"):
            self._add(_message_keys(message))
        proof = body.get("usernameProof")
        if proof and proof["type"] == "USERNAME_TYPE_FNAME":
            self._fname(proof["name"], proof["fid"])

    def _fname(self, name: str, fid: int) -> None:
        """The new holder's leaf comes before the former one's goes: a renewal leaves none."""
        if fid:
            self._add([fid_prefix(fid) + fname_leaf(name)])
        if former := self._name_holders.get(name):
            self._discard([fid_prefix(former) + fname_leaf(name)])
        self._name_holders[name] = fid

    def _add(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.by_fid[key[:FID_PREFIX_BYTES]].add(key)
            self.touched.add(key[:FID_PREFIX_BYTES])

    def _discard(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.by_fid[key[:FID_PREFIX_BYTES]].discard(key)
            self.touched.add(key[:FID_PREFIX_BYTES])


def _message_keys(message: dict[str, Any]) -> list[bytes]:
    data = message["data"]
    leaf = message_leaf(
        MESSAGE_TYPES[data["type"].removeprefix("MESSAGE_TYPE_")], bytes.fromhex(message["hash"].removeprefix("0x"))
    )
    lent = data.get("lendStorageBody")
    return [fid_prefix(fid) + leaf for fid in (data["fid"], *([lent["toFid"]] if lent else []))]


_ANY: Final = msgspec.json.Decoder()
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError)


class ShardTrie:
    """One shard's trie, which follows its events."""

    def __init__(self) -> None:
        self._model = LeafModel()
        self._fids: defaultdict[int, dict[bytes, Node]] = defaultdict(dict)
        self._virtual_shards: dict[bytes, Node] = {}

    def take(self, raw: bytes) -> None:
        """Take one event in; what no hub writes, such as a test's, leaves the trie as it is."""
        try:
            self._model.fold(_ANY.decode(raw))
        except _UNREADABLE:
            return

    @property
    def root(self) -> Node:
        """How many leaves there are, and their hash."""
        self._refresh()
        return _nodes(self._virtual_shards).root

    def told(self, prefix: bytes) -> ToldNode | None:
        """What is told of a prefix of whole bytes (node-db 3.5)."""
        self._refresh()
        if not prefix:
            nodes = _nodes(self._virtual_shards)
        elif len(prefix) < FID_PREFIX_BYTES:
            nodes = _nodes(self._fids[prefix[0]])
        else:
            nodes = Nodes.of_leaves(list(self._model.by_fid.get(prefix[:FID_PREFIX_BYTES], ())))
        path = bytes(nibble for byte in prefix for nibble in (byte >> 4, byte & 15))
        node = nodes.node(path)
        return None if node is None else ToldNode(node, nodes.children(path))

    def _refresh(self) -> None:
        touched, self._model.touched = self._model.touched, set()
        for prefix in touched:
            fids = self._fids[prefix[0]]
            leaves = self._model.by_fid[prefix]
            fids.pop(prefix, None)
            if leaves:
                at = Nodes.of_leaves(list(leaves)).at(FID_DEPTH)
                fids[prefix] = Node(len(leaves), at.hashes[0].tobytes())
        for shard in {prefix[0] for prefix in touched}:
            self._virtual_shards.pop(bytes((shard,)), None)
            if self._fids[shard]:
                at = _nodes(self._fids[shard]).at(VIRTUAL_SHARD_DEPTH)
                self._virtual_shards[bytes((shard,))] = Node(int(at.leaf_counts[0]), at.hashes[0].tobytes())


def _nodes(of: dict[bytes, Node]) -> Nodes:
    return Nodes.of_digests(list(of), [node.leaf_count for node in of.values()], [node.hash for node in of.values()])
