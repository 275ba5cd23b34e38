"""Writes messages and events as JSON. Hashes and signatures are true, or random bytes, which are made much sooner.

Everything is put together from strings: a JSON encoder would take most of the time.
"""

from binascii import b2a_base64
from random import Random

from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline.sample_hub.generator.signatures import Signatures, Signed
from fc_pipeline.sample_hub.generator.world import Stored, User, World
from fc_pipeline.sample_hub.homes import shard_of

__all__ = ["EventWriter"]


class EventWriter:
    """`now` is the unix second of the block being written, `tick` counts the blocks of a shard.

    `outbox` holds, per shard, what goes into its next block, and `later` what comes at that block's end. `written`
    counts events but those that come later. Without `signatures`, hashes and signatures are random bytes.
    """

    def __init__(self, rng: Random, shards: int, signatures: Signatures | None = None) -> None:
        self.rng = rng
        self.signatures = signatures
        self.random = rng.random
        self.now = 0
        self.tick = 0
        self.outbox: dict[int, list[tuple[str, str]]] = {shard: [] for shard in range(1, shards + 1)}
        self.later: dict[int, list[tuple[str, str]]] = {shard: [] for shard in range(1, shards + 1)}
        self.written = 0
        self.global_shard = shard_of(0, shards)

    def beside(self, rng: Random) -> "EventWriter":
        """A writer with random numbers of its own, whose events come at the end of the same blocks.

        What it writes changes nothing of what this one would have written without it.
        """
        other = EventWriter(rng, len(self.outbox), self.signatures)
        other.outbox = other.later = self.later
        return other

    def begin(self, unix_seconds: int) -> None:
        """Begin the next block of each shard."""
        self.now = unix_seconds
        self.tick += 1

    @property
    def farcaster_now(self) -> int:
        """The block's time in Farcaster seconds."""
        return self.now - FARCASTER_EPOCH_UNIX

    def hex(self, size_bytes: int) -> str:
        """So many random bytes as 0x-hex."""
        return "0x" + self.rng.randbytes(size_bytes).hex()

    def base64(self, size_bytes: int) -> str:
        """So many random bytes as base64."""
        return b2a_base64(self.rng.randbytes(size_bytes), newline=False).decode()

    def below(self, bound: int) -> int:
        """A random whole number from 0 up to, not including, the bound."""
        return int(self.random() * bound)

    def moment(self, after: int = -1) -> int:
        """A message's timestamp: up to 3 s before the block, yet after the given one."""
        return max(self.farcaster_now - int(self.random() * 4), after + 1)

    def message(
        self, user: User, kind: str, timestamp: int, body: str, *, is_add: bool = True, value: str = ""
    ) -> Stored:
        """A message signed by a key of the user; `body` is `"castAddBody":{...}` and the like."""
        noise = self.rng.randbytes(84)
        ring = user.keyring
        is_gasless = ring is not None and ring.signs(kind, self.farcaster_now - timestamp, noise[0])
        if self.signatures is None:
            signer = ring.key.public if ring is not None and is_gasless else user.signer
            signature = b2a_base64(noise[20:], newline=False).decode()
            signed = Signed(timestamp, "0x" + noise[:20].hex(), signature)
        else:
            key = ring.key if ring is not None and is_gasless else self.signatures.key_of(user)
            signer, signed = key.public, self.signatures.sign(kind, user.fid, timestamp, body, key)
        text = (
            f'{{"data":{{"type":"MESSAGE_TYPE_{kind}","fid":{user.fid},"timestamp":{signed.timestamp},'
            f'"network":"FARCASTER_NETWORK_MAINNET",{body}}},"hash":"{signed.hash}","hashScheme":"HASH_SCHEME_BLAKE3",'
            f'"signature":"{signed.signature}","signatureScheme":"SIGNATURE_SCHEME_ED25519","signer":"{signer}"}}'
        )
        return Stored(signed.timestamp, signed.hash, text, is_add, value, user.fid)

    def emit(self, shard: int, kind: str, body: str) -> None:
        """Put an event into the shard's next block; it gets its envelope when the block is written."""
        self.outbox[shard].append((kind, body))
        self.written += 1

    def emit_later(self, shard: int, kind: str, body: str) -> None:
        """Put an event at the end of the shard's next block, where it is not counted."""
        self.later[shard].append((kind, body))

    def merge(self, user: User, message: Stored, deleted: str = "") -> None:
        """MERGE_MESSAGE on the user's shard; `deleted` is the JSON of what it displaced, comma-separated."""
        self.emit(
            user.shard,
            "MERGE_MESSAGE",
            f'"mergeMessageBody":{{"message":{message.json},"deletedMessages":[{deleted}]}}',
        )

    def prune(self, user: User, message: Stored) -> None:
        """PRUNE_MESSAGE on the user's shard."""
        self.emit(user.shard, "PRUNE_MESSAGE", f'"pruneMessageBody":{{"message":{message.json}}}')

    def revoke(self, user: User, message: Stored) -> None:
        """REVOKE_MESSAGE on the user's shard."""
        self.emit(user.shard, "REVOKE_MESSAGE", f'"revokeMessageBody":{{"message":{message.json}}}')

    def everywhere(self, world: World, kind: str, body: str) -> None:
        """The same event on every data shard (fname proofs, LEND_STORAGE; hub-api 7.7)."""
        for shard in range(1, world.shards + 1):
            self.emit(shard, kind, body)

    def block(self, shard: int, height: int) -> list[bytes]:
        """Close the shard's block: BLOCK_CONFIRMED, then what was put into it, with ids."""
        payloads = self.outbox[shard] + self.later[shard]
        self.outbox[shard], self.later[shard] = [], []
        base = height << 14
        end = f',"blockNumber":{height},"shardIndex":{shard}}}'
        opening = (
            f'{{"type":"HUB_EVENT_TYPE_BLOCK_CONFIRMED","id":{base},"blockConfirmedBody":{{"blockNumber":{height},'
            f'"shardIndex":{shard},"timestamp":{self.farcaster_now},"blockHash":"{self.hex(32)}",'
            f'"totalEvents":{len(payloads) + 1}}}{end}'
        )
        lines = [opening.encode()]
        lines += [
            f'{{"type":"HUB_EVENT_TYPE_{kind}","id":{event_id},{body}{end}'.encode()
            for event_id, (kind, body) in enumerate(payloads, start=base + 1)
        ]
        self.written += 1
        return lines
