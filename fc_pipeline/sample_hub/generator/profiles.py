"""User data, verified addresses, and ENS and Basename proofs."""

from fc_pipeline.base58 import base58
from fc_pipeline.sample_hub.generator.scribe import EventWriter
from fc_pipeline.sample_hub.generator.texts import Texts
from fc_pipeline.sample_hub.generator.world import Copy, Stored, StoredProof, User, World

__all__ = ["Profiles"]

SOLANA_POOL = 64
PRIMARY_ETHEREUM = "USER_DATA_PRIMARY_ADDRESS_ETHEREUM"
USERNAME = "USER_DATA_TYPE_USERNAME"


class Profiles:
    """What users say of themselves."""

    def __init__(self, scribe: EventWriter, world: World, texts: Texts) -> None:
        self._scribe = scribe
        self._world = world
        self._texts = texts
        self._solana = [base58(scribe.rng.randbytes(32)) for _ in range(SOLANA_POOL)]

    def edit(self) -> None:
        """One field of an active user's profile set again."""
        user = self._world.active(self._scribe.random)
        choice = self._scribe.below(100)
        if choice < 12:
            self.set_username(user)
        elif choice < 20:
            self._set_primary_address(user)
        else:
            self.set_field(user, *self._field(choice))

    def _field(self, choice: int) -> tuple[str, str]:
        """A field and its new value, escaped for JSON; an empty value clears it (hub-api 5.2)."""
        scribe, texts = self._scribe, self._texts
        if choice < 40:
            return "USER_DATA_TYPE_PFP", f"https://images.example.com/{scribe.rng.getrandbits(48):x}.jpg"
        if choice < 58:
            return "USER_DATA_TYPE_DISPLAY", texts.displays[scribe.below(len(texts.displays))].escaped
        if choice < 78:
            bios = texts.nul if scribe.random() < 0.01 else texts.bios
            return "USER_DATA_TYPE_BIO", bios[scribe.below(len(bios))].escaped
        if choice < 82:
            return "USER_DATA_TYPE_URL", f"https://example.org/{scribe.below(10_000)}"
        if choice < 88:
            return "USER_DATA_TYPE_LOCATION", f"geo:{scribe.random() * 90:.2f},{scribe.random() * -180:.2f}"
        if choice < 92:
            return "USER_DATA_TYPE_TWITTER", f"someone_{scribe.below(10_000)}"
        if choice < 96:
            return "USER_DATA_TYPE_GITHUB", f"dev-{scribe.below(10_000)}"
        if choice < 98:
            return "USER_DATA_TYPE_BANNER", f"https://images.example.com/banner/{scribe.below(10_000)}.png"
        return "USER_DATA_TYPE_URL", ""

    def set_field(self, user: User, field: str, escaped_value: str) -> None:
        """USER_DATA_ADD; the previous value of the field is displaced."""
        scribe, held = self._scribe, user.user_data.get(field)
        body = f'"userDataBody":{{"type":"{field}","value":"{escaped_value}"}}'
        timestamp = scribe.moment(held.timestamp if held else -1)
        message = scribe.message(user, "USER_DATA_ADD", timestamp, body, value=escaped_value)
        user.user_data[field] = message
        scribe.merge(user, message, held.json if held else "")

    def set_username(self, user: User) -> None:
        """One of the names that the user holds, or none."""
        names = [*([user.fname] if user.fname else []), *user.ens]
        self.set_field(user, USERNAME, names[self._scribe.below(len(names))] if names else "")

    def _set_primary_address(self, user: User) -> None:
        """A verified address of digits only, so that it is its own EIP-55 checksum."""
        ethereum = [address for address, held in user.verifications.items() if held.is_add and address[2:].isdigit()]
        if ethereum:
            self.set_field(user, PRIMARY_ETHEREUM, ethereum[0])

    def verify(self) -> None:
        """VERIFICATION_ADD of a new address, or of one that was verified before."""
        scribe, user = self._scribe, self._world.active(self._scribe.random)
        if user.verifications and scribe.random() < 0.2:
            address = next(iter(user.verifications))
        elif scribe.random() < 0.3:
            address = self._solana[scribe.below(SOLANA_POOL)]
        else:
            address = f"0x{scribe.rng.getrandbits(132) % 10**40:040}" if scribe.random() < 0.5 else scribe.hex(20)
        self.put_verification(user, user.verifications, address)

    def put_verification(self, user: User, held_by_address: dict[str, Stored], address: str) -> None:
        """VERIFICATION_ADD of the address; what is held of it is displaced."""
        scribe, held = self._scribe, held_by_address.pop(address, None)
        if address.startswith("0x"):
            proof = f'"blockHash":"{scribe.hex(32)}","type":0,"chainId":0,"protocol":"PROTOCOL_ETHEREUM"'
            signature = scribe.base64(65)
        else:
            block_hash = base58(scribe.rng.randbytes(32))
            proof = f'"blockHash":"{block_hash}","type":0,"chainId":0,"protocol":"PROTOCOL_SOLANA"'
            signature = scribe.base64(64)
        body = f'"verificationAddAddressBody":{{"address":"{address}","claimSignature":"{signature}",{proof}}}'
        timestamp = scribe.moment(held.timestamp if held else -1)
        message = scribe.message(user, "VERIFICATION_ADD_ETH_ADDRESS", timestamp, body)
        held_by_address[address] = message
        scribe.merge(user, message, held.json if held else "")
        self._replay(user, address, message)

    def remove_verification(self, user: User, held_by_address: dict[str, Stored], address: str) -> None:
        """VERIFICATION_REMOVE of an address that is held."""
        scribe, held = self._scribe, held_by_address[address]
        protocol = "PROTOCOL_ETHEREUM" if address.startswith("0x") else "PROTOCOL_SOLANA"
        body = f'"verificationRemoveBody":{{"address":"{address}","protocol":"{protocol}"}}'
        message = scribe.message(user, "VERIFICATION_REMOVE", scribe.moment(held.timestamp), body, is_add=False)
        held_by_address[address] = message
        scribe.merge(user, message, held.json)
        self._replay(user, address, message)

    def _replay(self, user: User, address: str, message: Stored) -> None:
        """The copies of the other shards, which prune whatever they held before: no rent of the FID is there.

        What came in the same block stays until the next verification (protocol-tables 5 and 7).
        """
        scribe = self._scribe
        for shard in range(1, self._world.shards + 1):
            if shard == user.shard:
                continue
            copies = user.copies.setdefault(shard, {})
            held = copies.pop(address, None)
            deleted = held.message.json if held else ""
            body = f'"mergeMessageBody":{{"message":{message.json},"deletedMessages":[{deleted}]}}'
            scribe.emit_later(shard, "MERGE_MESSAGE", body)
            for other in [key for key, copy in copies.items() if copy.tick < scribe.tick]:
                gone = copies.pop(other).message
                scribe.emit_later(shard, "PRUNE_MESSAGE", f'"pruneMessageBody":{{"message":{gone.json}}}')
            copies[address] = Copy(message, scribe.tick)

    def unverify(self) -> None:
        """VERIFICATION_REMOVE; the primary address goes with its verification, by a REVOKE (hub-api 7.6)."""
        scribe, user = self._scribe, self._world.active(self._scribe.random)
        held = next((item for item in user.verifications.items() if item[1].is_add), None)
        if held is None:
            return
        address, _ = held
        self.remove_verification(user, user.verifications, address)
        primary = user.user_data.get(PRIMARY_ETHEREUM)
        if primary is not None and primary.value == address:
            del user.user_data[PRIMARY_ETHEREUM]
            scribe.revoke(user, primary)

    def prove_ens(self) -> None:
        """An ENS or Basename proof, renewed if it was there, or pruned with only the deleted keys (hub-api 4.3)."""
        scribe, user = self._scribe, self._world.active(self._scribe.random)
        if user.ens and scribe.random() < 0.25:
            name, held = next(iter(user.ens.items()))
            del user.ens[name]
            scribe.emit(user.shard, "MERGE_USERNAME_PROOF", f'"mergeUsernameProofBody":{{{_deleted(held)}}}')
            return
        is_ens = scribe.random() < 0.7
        name = f"user{user.fid}.eth" if is_ens else f"user{user.fid}.base.eth"
        held = user.ens.get(name)
        timestamp = max(scribe.now, held.timestamp + 1 if held else 0)
        proof = (
            f'{{"timestamp":{timestamp},"name":"{name}","owner":"{user.custody}","signature":"{scribe.base64(65)}",'
            f'"fid":{user.fid},"type":"USERNAME_TYPE_{"ENS_L1" if is_ens else "BASENAME"}"}}'
        )
        previous = held.message if held else None
        moment = scribe.moment(previous.timestamp if previous else -1)
        message: Stored = scribe.message(user, "USERNAME_PROOF", moment, f'"usernameProofBody":{proof}')
        user.ens[name] = StoredProof(user.fid, timestamp, proof, message)
        deleted = f",{_deleted(held)}" if held else ""
        scribe.emit(
            user.shard,
            "MERGE_USERNAME_PROOF",
            f'"mergeUsernameProofBody":{{"usernameProof":{proof},"usernameProofMessage":{message.json}{deleted}}}',
        )


def _deleted(held: StoredProof) -> str:
    message = f',"deletedUsernameProofMessage":{held.message.json}' if held.message else ""
    return f'"deletedUsernameProof":{held.json}{message}'
