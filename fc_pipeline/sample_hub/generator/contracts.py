"""Events of contracts, as blocks carry them."""

from fc_pipeline.sample_hub.generator.scribe import EventWriter
from fc_pipeline.sample_hub.generator.world import User

__all__ = ["BASE", "OPTIMISM", "Contracts"]

OPTIMISM, BASE = 10, 8453
CHAIN_BLOCK_0_UNIX = 1_510_000_000


class Contracts:
    """Numbers the events it writes from `first_log` on."""

    def __init__(self, scribe: EventWriter, *, first_log: int = 1) -> None:
        self._scribe = scribe
        self._log = first_log

    def emit(
        self,
        user: User,
        kind: str,
        body: str = "",
        *,
        tier: str = "null",
        chain_id: int = OPTIMISM,
        is_global: bool = False,
    ) -> None:
        """MERGE_ON_CHAIN_EVENT on the user's shard; one that `is_global` is of FID 0, on that of FID 0.

        The tier's key is always there, in snake case (hub-api 4.3).
        """
        scribe = self._scribe
        block = (scribe.now - CHAIN_BLOCK_0_UNIX) // 2
        event = (
            f'{{"type":"EVENT_TYPE_{kind}","chainId":{chain_id},"blockNumber":{block},"blockHash":"{scribe.hex(32)}",'
            f'"blockTimestamp":{scribe.now - 2},"transactionHash":"{scribe.hex(32)}","logIndex":{self._log},'
            f'"fid":{0 if is_global else user.fid},{body}"tier_purchase_event_body":{tier},'
            f'"txIndex":{scribe.below(60)},"version":0}}'
        )
        self._log += 1
        shard = scribe.global_shard if is_global else user.shard
        scribe.emit(shard, "MERGE_ON_CHAIN_EVENT", f'"mergeOnChainEventBody":{{"onChainEvent":{event}}}')

    def purchase_tier(self, user: User, days: int) -> None:
        """So many days of Pro."""
        body = f'{{"payer":"{user.custody}","for_days":{days},"tier_type":"Pro"}}'
        self.emit(user, "TIER_PURCHASE", tier=body, chain_id=BASE)
