"""The hub's JSON as msgspec structs: only the fields that tables need (hub-api 3, 4 and 5).

Both dialects decode into the same structs: Snapchain writes `null` where Hubble leaves a key out, and Hubble's older
names (`verificationAddEthAddressBody`, `ethSignature`, `verificationType`) are read beside the new ones. Unknown keys
are ignored. Integers that end up in a Postgres `bigint` are bounded here, so that one that does not fit fails its own
event and goes to quarantine (hub-api T14).
"""

from typing import Annotated, Final

from msgspec import Meta, Raw, Struct

from fc_pipeline.hub.channel_bodies import ChannelMemberBody, ChannelModerateBody, ChannelPinBody, ChannelUpdateBody
from fc_pipeline.hub.numbers import BigInt, Fid, Seconds

FARCASTER_EPOCH_UNIX: Final = 1_609_459_200
"""2021-01-01T00:00:00Z: message and block timestamps count seconds from here (hub-api 4.2)."""

BLOCK_SEQUENCE_BITS: Final = 14
"""An event id is `height << 14 | seq` (hub-api 3.3)."""

FIRST_SHARD: Final = 1
"""The data shard whose copies count of messages that every shard has (hub-api 2, protocol-tables 0)."""


def first_event_id(height: int) -> int:
    """The lowest event id that block `height` can have: its block boundary."""
    return height << BLOCK_SEQUENCE_BITS


def height_of(event_id: int) -> int:
    """The block height inside an event id."""
    return event_id >> BLOCK_SEQUENCE_BITS


class CastId(Struct, gc=False):
    """A cast by its author's FID and 0x-hex hash."""

    fid: Fid
    hash: str


class CastAddBody(Struct, gc=False):
    """`embeds` stays raw JSON: it goes into a jsonb column as it came."""

    text: str
    embeds: Raw = Raw(b"[]")
    embedsDeprecated: list[str] = []
    mentions: list[Fid] = []
    mentionsPositions: list[Annotated[int, Meta(ge=0, le=2**31 - 1)]] = []
    parentCastId: CastId | None = None
    parentUrl: str | None = None
    type: str = "CAST"


class CastRemoveBody(Struct, gc=False):
    """`targetHash` is base64, unlike every other hash (hub-api T17)."""

    targetHash: str


class ReactionBody(Struct, gc=False):
    type: str
    targetCastId: CastId | None = None
    targetUrl: str | None = None


class LinkBody(Struct, gc=False):
    type: str
    targetFid: Fid
    displayTimestamp: Seconds | None = None


class LinkCompactStateBody(Struct, gc=False):
    type: str
    targetFids: list[Fid] = []


class UserDataBody(Struct, gc=False):
    type: str
    value: str


class VerificationAddBody(Struct, gc=False):
    """Ethereum address and block hash are 0x-hex, Solana's base58 (hub-api 5.2)."""

    address: str
    claimSignature: str = ""
    ethSignature: str = ""
    blockHash: str = ""
    type: int = 0
    verificationType: int = 0
    chainId: BigInt = 0
    protocol: str = "PROTOCOL_ETHEREUM"


class VerificationRemoveBody(Struct, gc=False):
    address: str
    protocol: str = "PROTOCOL_ETHEREUM"


class UsernameProof(Struct, gc=False):
    """`timestamp` is unix seconds; `fid` 0 means that the name was released (hub-api 4.3)."""

    timestamp: BigInt
    name: str
    owner: str
    signature: str
    fid: BigInt
    type: str


class LendStorageBody(Struct, gc=False):
    """0 units end what was lent (protocol-tables 2.2)."""

    toFid: Fid
    numUnits: BigInt = 0
    unitType: str = ""


class MessageData(Struct, gc=False):
    """`timestamp` is Farcaster seconds and a claim of the user, never a watermark (hub-api T6)."""

    type: str
    fid: Fid
    timestamp: Seconds
    castAddBody: CastAddBody | None = None
    castRemoveBody: CastRemoveBody | None = None
    reactionBody: ReactionBody | None = None
    linkBody: LinkBody | None = None
    linkCompactStateBody: LinkCompactStateBody | None = None
    userDataBody: UserDataBody | None = None
    verificationAddAddressBody: VerificationAddBody | None = None
    verificationAddEthAddressBody: VerificationAddBody | None = None
    verificationRemoveBody: VerificationRemoveBody | None = None
    usernameProofBody: UsernameProof | None = None
    lendStorageBody: LendStorageBody | None = None
    channelUpdateBody: ChannelUpdateBody | None = None
    channelMemberBody: ChannelMemberBody | None = None
    channelPinBody: ChannelPinBody | None = None
    channelModerateBody: ChannelModerateBody | None = None


class Message(Struct, gc=False):
    """A signed message: `hash` and `signer` are 0x-hex, `signature` is base64."""

    data: MessageData
    hash: str
    signature: str
    signer: str


class MergeMessageBody(Struct, gc=False):
    message: Message
    deletedMessages: list[Message] = []


class MessageBody(Struct, gc=False):
    """Body of PRUNE_MESSAGE and REVOKE_MESSAGE: the message that went away."""

    message: Message


class MergeUsernameProofBody(Struct, gc=False):
    """Any of the four may be absent; only the `deleted…` ones when a proof was pruned or revoked (hub-api 4.3)."""

    usernameProof: UsernameProof | None = None
    deletedUsernameProof: UsernameProof | None = None
    usernameProofMessage: Message | None = None
    deletedUsernameProofMessage: Message | None = None


class OnChainEvent(Struct, gc=False):
    """A contract event; its type's own body stays raw JSON. `blockTimestamp` is unix seconds."""

    type: str
    chainId: BigInt
    blockNumber: BigInt
    blockTimestamp: BigInt
    transactionHash: str
    logIndex: BigInt
    fid: BigInt
    signerEventBody: Raw = Raw()
    signerMigratedEventBody: Raw = Raw()
    idRegisterEventBody: Raw = Raw()
    storageRentEventBody: Raw = Raw()
    tier_purchase_event_body: Raw = Raw()
    channelRegisterEventBody: Raw = Raw()


class Signer(Struct, gc=False):
    """An entry of `/v1/signersByFid`, as a gasless key has it; all times are unix seconds (protocol-tables 1.3)."""

    source: str
    key: str
    fid: Fid
    keyType: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    addedAt: BigInt
    lastUsedAt: BigInt
    ttl: BigInt
    expiresAt: BigInt
    scopes: list[str]
    requestFid: BigInt = 0
    nonce: BigInt = 0


class MergeOnChainEventBody(Struct, gc=False):
    onChainEvent: OnChainEvent


class BlockConfirmedBody(Struct, gc=False):
    """`timestamp` is Farcaster seconds; `totalEvents` is a hint, not an invariant (hub-api 3.4, T10)."""

    timestamp: Seconds
    totalEvents: BigInt = 0
    blockNumber: BigInt = 0
    blockHash: str = ""


class HubEvent(Struct, gc=False):
    """One event of the feed; exactly one body is set, or none for a type this release does not know.

    Hubble leaves `shardIndex` and `blockNumber` out, or writes 0 (hub-api 8).
    """

    type: str
    id: BigInt
    shardIndex: int = 0
    blockNumber: int | None = None
    mergeMessageBody: MergeMessageBody | None = None
    pruneMessageBody: MessageBody | None = None
    revokeMessageBody: MessageBody | None = None
    mergeUsernameProofBody: MergeUsernameProofBody | None = None
    mergeOnChainEventBody: MergeOnChainEventBody | None = None
    blockConfirmedBody: BlockConfirmedBody | None = None

    @property
    def height(self) -> int:
        """The block's height on this event's shard."""
        return self.id >> BLOCK_SEQUENCE_BITS


class ShardInfo(Struct):
    """`blockDelay` is the age of the newest block in seconds."""

    shardId: int
    maxHeight: int = 0
    blockDelay: int = 0
    numMessages: int = 0
    numFidRegistrations: int = 0
    mempoolSize: int = 0


class DbStats(Struct):
    numMessages: int = 0
    numFidRegistrations: int = 0
    approxSize: int = 0


class HubInfo(Struct):
    """`/v1/info`; `shardInfos` is unordered and holds shard 0, and is absent on Hubble (hub-api 2, T21).

    Every hub says its version: an answer without one is an error object of a proxy in front of the hub.
    """

    version: str
    numShards: int = 0
    shardInfos: list[ShardInfo] = []
    dbStats: DbStats | None = None
    peer_id: str = ""


class StorageLimit(Struct):
    """One message set's limit; storage lends have `storeType` `None`, so go by `name` (hub-api 6.4)."""

    name: str
    limit: BigInt = 0
    used: BigInt = 0


class TierSubscription(Struct):
    """`expires_at` is unix seconds; 0 means never subscribed (hub-api 6.4)."""

    expires_at: BigInt = 0


class StorageLimits(Struct):
    """`/v1/storageLimitsByFid`: what the FID may store and stores, per message set; Hubble reports no subscriptions."""

    limits: list[StorageLimit] = []
    units: BigInt = 0
    tier_subscriptions: list[TierSubscription] | None = None
