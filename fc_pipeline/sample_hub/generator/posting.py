"""Casts and reactions, their removal and pruning."""

from binascii import b2a_base64

from fc_pipeline.sample_hub.generator.scribe import EventWriter
from fc_pipeline.sample_hub.generator.texts import CHANNEL_URLS, Piece, Texts
from fc_pipeline.sample_hub.generator.world import RecentCast, Stored, User, World

__all__ = ["Posting"]

HUGE_FID = 2**63 + 12_345
BACK_DATED_SECONDS = 40_000_000


class Posting:
    """What users post and like. `huge_fids` lets a cast in 2,000 mention an FID above a signed bigint (hub-api T14)."""

    def __init__(self, scribe: EventWriter, world: World, texts: Texts, *, huge_fids: bool) -> None:
        self._scribe = scribe
        self._world = world
        self._texts = texts
        self._huge_fids = huge_fids

    def cast(self) -> None:
        """A cast: a post, a reply, a channel post, with or without mentions and embeds."""
        scribe, user = self._scribe, self._world.active(self._scribe.random)
        message = self._cast_add(user, scribe.moment())
        scribe.merge(user, message)
        user.recent_casts.append(message)
        user.messages += 1
        self._world.casts.append(RecentCast(user.fid, message.hash))

    def _cast_add(self, user: User, timestamp: int) -> Stored:
        random = self._scribe.random
        text, mentions, positions, kind = self._text(random())
        parent_cast = parent_url = "null"
        place = random()
        if place < 0.35 and self._world.casts:
            parent_cast = self._cast_id()
        elif place < 0.55:
            parent_url = f'"{CHANNEL_URLS[self._scribe.below(len(CHANNEL_URLS))]}"'
        body = (
            f'"castAddBody":{{"embedsDeprecated":[],"mentions":[{mentions}],"parentCastId":{parent_cast},'
            f'"parentUrl":{parent_url},"text":"{text}","embeds":[{self._embeds(random())}],'
            f'"mentionsPositions":[{positions}],"type":"{kind}"}}'
        )
        return self._scribe.message(user, "CAST_ADD", timestamp, body)

    def _text(self, chance: float) -> tuple[str, str, str, str]:
        """Text, mentions, their byte offsets, and the cast's type."""
        texts, below = self._texts, self._scribe.below
        if chance < 0.85:
            return texts.casts[below(len(texts.casts))].escaped, "", "", "CAST"
        if chance < 0.98:
            return self._mentioning()
        if chance < 0.982:
            return texts.nul[below(len(texts.nul))].escaped, "", "", "CAST"
        if chance < 0.992:
            return texts.long[below(len(texts.long))].escaped, "", "", "LONG_CAST"
        if chance < 0.996:
            return texts.ten_k[below(len(texts.ten_k))].escaped, "", "", "TEN_K_CAST"
        if chance < 0.9965 and self._huge_fids:
            return "to ", str(HUGE_FID), "3", "CAST"
        return texts.short[below(len(texts.short))].escaped, "", "", "CAST"

    def _mentioning(self) -> tuple[str, str, str, str]:
        """Up to three mentions; an offset counts UTF-8 bytes and the text lacks the name (hub-api T15)."""
        texts, below, random = self._texts, self._scribe.below, self._scribe.random
        first: Piece = texts.casts[-1 - below(500)] if random() < 0.5 else texts.short[below(200)]
        mentions, positions, text, size = "", "", first.escaped + " ", first.size_bytes + 1
        for number in range(1 + below(3)):
            separator = "," if number else ""
            mentions += f"{separator}{self._world.popular(random).fid}"
            positions += f"{separator}{size}"
            piece = texts.short[below(200)]
            text += f" {piece.escaped} "
            size += piece.size_bytes + 2
        if random() < 0.3:
            mentions += f",{self._world.popular(random).fid}"
            positions += f",{size}"  # a mention at the very end: the offset is the text's length
        return text, mentions, positions, "CAST"

    def _embeds(self, chance: float) -> str:
        if chance < 0.70:
            return ""
        if chance < 0.88:
            return f'{{"url":"https://images.example.com/{self._scribe.rng.getrandbits(48):x}.png"}}'
        if not self._world.casts:
            return '{"url":"https://example.com/\u00fcber?q=%20&x=1"}'
        quote = f'{{"castId":{self._cast_id()}}}'
        return quote if chance < 0.97 else f'{{"url":"https://example.com/\u00fcber?q=%20&x=1"}},{quote}'

    def _recent(self) -> RecentCast:
        """One of the recent casts, mostly one of the newest."""
        casts = self._world.casts
        return casts[-1 - int(len(casts) * self._scribe.random() ** 3)]

    def _cast_id(self) -> str:
        cast = self._recent()
        return f'{{"fid":{cast.fid},"hash":"{cast.hash}"}}'

    def remove_cast(self) -> None:
        """CAST_REMOVE of one of the user's last casts, or now and then of one that nobody has seen."""
        scribe, user = self._scribe, self._world.active(self._scribe.random)
        removed: Stored | None = None
        if user.recent_casts and scribe.random() < 0.98:
            removed = user.recent_casts[scribe.below(len(user.recent_casts))]
            user.recent_casts.remove(removed)
        target = bytes.fromhex(removed.hash[2:]) if removed else scribe.rng.randbytes(20)
        target_hash = b2a_base64(target, newline=False).decode()
        message = scribe.message(
            user, "CAST_REMOVE", scribe.moment(), f'"castRemoveBody":{{"targetHash":"{target_hash}"}}', is_add=False
        )
        scribe.merge(user, message, removed.json if removed else "")
        user.cast_removes.append(message)

    def prune_cast(self) -> None:
        """A cast over the storage limit: the oldest goes, or a back-dated one in the very block of its merge."""
        scribe, user = self._scribe, self._world.active(self._scribe.random)
        chance = scribe.random()
        if user.pruned is not None and chance < 0.2:
            message, user.pruned = user.pruned, None
            scribe.merge(user, message)  # a pruned message leaves no tombstone: it may come again (hub-api 7.3)
            user.recent_casts.append(message)
        elif user.cast_removes and chance < 0.4:
            scribe.prune(user, user.cast_removes.popleft())
        elif user.recent_casts and chance < 0.8:
            user.pruned = user.recent_casts.popleft()
            scribe.prune(user, user.pruned)
        else:
            message = self._cast_add(user, max(1, scribe.farcaster_now - BACK_DATED_SECONDS - scribe.below(1000)))
            scribe.merge(user, message)
            scribe.prune(user, message)

    def react(self) -> None:
        """A like or recast of a recent cast; one on a URL now and then."""
        scribe, user = self._scribe, self._world.active(self._scribe.random)
        kind = "LIKE" if scribe.random() < 0.85 else "RECAST"
        user.messages += 1
        if not self._world.casts or scribe.random() < 0.01:
            url = f"https://example.com/{scribe.rng.getrandbits(80):x}"
            body = f'"reactionBody":{{"type":"REACTION_TYPE_{kind}","targetUrl":"{url}"}}'
            scribe.merge(user, scribe.message(user, "REACTION_ADD", scribe.moment(), body))
            return
        cast = self._recent()
        self._put_reaction(user, cast, kind, is_add=True)

    def unreact(self) -> None:
        """REACTION_REMOVE of the newest reaction on some recent cast, or a PRUNE of its oldest."""
        if not self._world.casts:
            return
        cast = self._recent()
        held = next(((key, stored) for key, stored in reversed(cast.reactions.items()) if stored.is_add), None)
        if held is None:
            return
        (fid, kind), stored = held
        user = self._world.by_fid[fid]
        if self._scribe.random() < 0.05:
            del cast.reactions[fid, kind]
            self._scribe.prune(user, stored)
        else:
            self._put_reaction(user, cast, kind, is_add=False)

    def _put_reaction(self, user: User, cast: RecentCast, kind: str, *, is_add: bool) -> None:
        scribe, key = self._scribe, (user.fid, kind)
        held = cast.reactions.pop(key, None)
        body = (
            f'"reactionBody":{{"type":"REACTION_TYPE_{kind}","targetCastId":{{"fid":{cast.fid},"hash":"{cast.hash}"}}}}'
        )
        message = scribe.message(
            user,
            "REACTION_ADD" if is_add else "REACTION_REMOVE",
            scribe.moment(held.timestamp if held else -1),
            body,
            is_add=is_add,
        )
        cast.reactions[key] = message
        scribe.merge(user, message, held.json if held else "")
