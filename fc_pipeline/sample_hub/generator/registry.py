"""What contracts and the fname registry say: registrations, signers, storage, subscriptions, names, loans."""

from binascii import b2a_base64

from fc_pipeline.sample_hub.generator.communities import Communities
from fc_pipeline.sample_hub.generator.contracts import Contracts
from fc_pipeline.sample_hub.generator.keyring import keyring_of
from fc_pipeline.sample_hub.generator.lending import LENDER_UNITS, LENDERS, Lending
from fc_pipeline.sample_hub.generator.profiles import USERNAME, Profiles
from fc_pipeline.sample_hub.generator.scribe import EventWriter
from fc_pipeline.sample_hub.generator.world import StoredProof, User, World
from fc_pipeline.sample_hub.homes import shard_of
from fc_pipeline.sample_hub.signing_keys import registry_key

__all__ = ["CLIENT_FIDS", "Registry"]

CLIENT_FIDS = (9152, 309_857, 193)
"""FIDs of the clients on whose request signers were added, the most used first."""

YEAR_SECONDS = 365 * 86_400
MESSAGES_PER_UNIT = 400


class Registry:
    """Registers users and keeps their keys, names and storage; with `gasless_keys` some have such a key, too."""

    def __init__(
        self,
        scribe: EventWriter,
        world: World,
        profiles: Profiles,
        communities: Communities,
        *,
        gasless_keys: bool = False,
    ) -> None:
        self._gasless_keys = gasless_keys
        self._scribe = scribe
        self._world = world
        self._profiles = profiles
        self._communities = communities
        self._contracts = Contracts(scribe)
        self._lending = Lending(scribe, world, first=0, count=2)

    def register(self, fid: int) -> None:
        """A new user: custody, signer, storage, mostly an fname, and often a profile."""
        scribe = self._scribe
        user = User(fid, shard_of(fid, self._world.shards), scribe.hex(20))
        user.signer = self._new_key(user)
        user.keyring = keyring_of(fid) if self._gasless_keys else None
        self._world.add(user)
        self._id_register(user, "Register", "0x")
        self._signer(user, "ADD")
        self.rent_storage(user)
        if scribe.random() < 0.9:
            self._claim_fname(user)
            self._profiles.set_username(user)
        if scribe.random() < 0.6:
            self._profiles.set_field(user, "USER_DATA_TYPE_DISPLAY", f"User {fid}")
            self._profiles.set_field(user, "USER_DATA_TYPE_PFP", f"https://images.example.com/pfp/{fid}.png")

    def event(self) -> None:
        """Something else that contracts do, of every type."""
        scribe, user = self._scribe, self._world.active(self._scribe.random)
        choice = scribe.below(100)
        if choice < 30:
            self._rotate_signer(user)
        elif choice < 50:
            self.rent_storage(user)
        elif choice < 65:
            self._change_custody(user)
        elif choice < 80:
            self._contracts.purchase_tier(user, 30 if choice < 75 else 365)
        elif choice < 90:
            name = f"channel-{scribe.rng.getrandbits(32):x}"
            # A new wallet: an address is the end of a hash.
            self._communities.register(user, name, "0x" + scribe.hex(32)[-40:], self._contracts)
        else:
            migrated = f'"signerMigratedEventBody":{{"migratedAt":{scribe.now - 3600}}},'
            self._contracts.emit(user, "SIGNER_MIGRATED", migrated, is_global=True)

    def _id_register(self, user: User, kind: str, previous: str) -> None:
        self._contracts.emit(
            user,
            "ID_REGISTER",
            f'"idRegisterEventBody":{{"to":"{user.custody}","eventType":"{kind}","from":"{previous}",'
            f'"recoveryAddress":"{self._scribe.hex(20)}"}},',
        )

    def _change_custody(self, user: User) -> None:
        if self._scribe.random() < 0.5:
            self._id_register(user, "ChangeRecovery", "0x")
            return
        previous, user.custody = user.custody, self._scribe.hex(20)
        self._id_register(user, "Transfer", previous)

    def _signer(self, user: User, kind: str, key: str | None = None) -> None:
        """Removes and resets have a key type and a metadata type of 0 (protocol-tables 1.1)."""
        is_add = kind == "ADD"
        metadata = self._signed_key_request() if is_add else ""
        self._contracts.emit(
            user,
            "SIGNER",
            f'"signerEventBody":{{"key":"{key or user.signer}","keyType":{is_add:d},'
            f'"eventType":"SIGNER_EVENT_TYPE_{kind}","metadata":"{metadata}","metadataType":{is_add:d}}},',
        )

    def add_key(self, user: User) -> None:
        """A new key, with which the user signs from now on."""
        user.signer = self._new_key(user)
        self._signer(user, "ADD")

    def _new_key(self, user: User) -> str:
        """Drawn also where it is made of the FID: a log has the same events whether it is signed or not."""
        drawn = self._scribe.hex(32)
        user.registry_keys += 1
        is_signing = self._scribe.signatures is not None
        return registry_key(user.fid, user.registry_keys).public if is_signing else drawn

    def _rotate_signer(self, user: User) -> None:
        """A new key, then the old one goes; what it signed stays (hub-api 7.6)."""
        previous = user.signer
        self.add_key(user)
        if self._scribe.random() < 0.6:
            self._signer(user, "REMOVE" if self._scribe.random() < 0.9 else "ADMIN_RESET", previous)

    def _signed_key_request(self) -> str:
        """ABI encoding of (requestFid, requestSigner, signature, deadline), as KeyRegistry's metadata holds it."""
        scribe = self._scribe
        client_fid = CLIENT_FIDS[int(len(CLIENT_FIDS) * scribe.random() ** 2)]
        words = (0x20, client_fid, scribe.rng.getrandbits(160), 0x80, scribe.now + 86_400, 65)
        signature = scribe.rng.randbytes(65).ljust(96, b"\0")
        return b2a_base64(b"".join(w.to_bytes(32, "big") for w in words) + signature, newline=False).decode()

    def rent_storage(self, user: User) -> None:
        """A unit for most, more for those who post more than their units hold, very many for the first, who lend."""
        units = max(1, user.messages // MESSAGES_PER_UNIT + 1 - user.storage_units)
        if len(self._world.users) <= LENDERS and user.storage_units == 0:
            units = LENDER_UNITS
        user.storage_units += units
        body = f'{{"payer":"{user.custody}","units":{units},"expiry":{self._scribe.now + YEAR_SECONDS}}}'
        self._contracts.emit(user, "STORAGE_RENT", f'"storageRentEventBody":{body},')

    def change_fname(self) -> None:
        """An fname is released, transferred to a user without one, or taken; every shard gets a copy (hub-api 7.5)."""
        scribe, user = self._scribe, self._world.active(self._scribe.random)
        if user.fname is None:
            self._claim_fname(user)
            return
        new_owner = self._world.active(scribe.random)
        name, user.fname = user.fname, None
        self._prove_fname(name, new_owner if new_owner.fname is None and new_owner is not user else None)
        username = user.user_data.pop(USERNAME, None)
        if username is not None:
            scribe.revoke(user, username)

    def _claim_fname(self, user: User) -> None:
        """The user's own name, if nobody else has it by now."""
        name = f"user{user.fid}"
        held = self._world.fnames.get(name)
        if held is None or held.fid == 0:
            self._prove_fname(name, user)

    def _prove_fname(self, name: str, holder: User | None) -> None:
        """The name's new proof; without a holder it is released, with FID 0."""
        scribe, held = self._scribe, self._world.fnames.get(name)
        timestamp = max(scribe.now, held.timestamp + 1 if held else 0)
        fid, owner = (holder.fid, holder.custody) if holder else (0, "0x" + "0" * 40)
        proof = (
            f'{{"timestamp":{timestamp},"name":"{name}","owner":"{owner}","signature":"{scribe.base64(65)}",'
            f'"fid":{fid},"type":"USERNAME_TYPE_FNAME"}}'
        )
        deleted = f',"deletedUsernameProof":{held.json}' if held and held.fid else ""
        self._world.fnames[name] = StoredProof(fid, timestamp, proof)
        if holder is not None:
            holder.fname = name
        body = f'"mergeUsernameProofBody":{{"usernameProof":{proof}{deleted}}}'
        scribe.everywhere(self._world, "MERGE_USERNAME_PROOF", body)

    def lend_storage(self) -> None:
        """A unit of somebody who has many, or its end."""
        scribe = self._scribe
        drawn, receiver = self._world.active(scribe.random), self._world.active(scribe.random)
        lender = self._lending.lender(drawn.fid)
        if drawn is not receiver and lender is not None:
            self._lending.lend(lender, receiver, 0 if receiver.fid in lender.lends else 1)
