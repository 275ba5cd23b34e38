"""The generated network as it runs: block after block, users join and act in a realistic mix."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from random import Random

from fc_pipeline.errors import ConfigError
from fc_pipeline.sample_hub.generator.following import Following
from fc_pipeline.sample_hub.generator.newer import NewerTraffic
from fc_pipeline.sample_hub.generator.posting import Posting
from fc_pipeline.sample_hub.generator.profiles import Profiles
from fc_pipeline.sample_hub.generator.registry import Registry
from fc_pipeline.sample_hub.generator.scribe import EventWriter
from fc_pipeline.sample_hub.generator.signatures import Signatures
from fc_pipeline.sample_hub.generator.texts import Texts
from fc_pipeline.sample_hub.generator.world import World

__all__ = ["Simulation", "first_heights", "generate"]

FIRST_HEIGHT = 41_000_000
HEIGHT_STEP = 61_647
MAX_EVENTS_PER_BLOCK = 10_000
FIRST_USERS = 20


def first_heights(shards: int) -> dict[int, int]:
    """Heights at which a generated log starts: they differ per shard."""
    return {shard: FIRST_HEIGHT - HEIGHT_STEP * (shard - 1) for shard in range(1, shards + 1)}


class Simulation:
    """A network that goes on for ever, one tick (a block per shard) at a time.

    The world may be one that was read back from a log. `fids` is how many users there will be in the end;
    `heights` are those of the next blocks, `newest_fid` is the highest FID that is taken. Messages are
    `signed`, or have random bytes for hash and signature.
    """

    def __init__(
        self,
        rng: Random,
        world: World,
        *,
        heights: Mapping[int, int],
        fids: int,
        newest_fid: int = 0,
        huge_fids: bool = False,
        unknown_types: bool = False,
        gasless_keys: bool = False,
        signed: bool = False,
    ) -> None:
        self.world = world
        self.heights = dict(heights)
        self._fids = fids
        self._newest_fid = newest_fid
        known = (cast.hash for cast in world.casts)
        signatures = Signatures(lambda user: self._registry.add_key(user), known) if signed else None
        self._scribe = EventWriter(rng, world.shards, signatures)
        texts = Texts(rng)
        posting = Posting(self._scribe, world, texts, huge_fids=huge_fids)
        following = Following(self._scribe, world)
        profiles = Profiles(self._scribe, world, texts)
        self._newer = NewerTraffic(self._scribe.beside(_beside(rng)), world, texts)
        self._registry = Registry(self._scribe, world, profiles, self._newer.communities, gasless_keys=gasless_keys)
        mix: list[tuple[float, Callable[[], None]]] = [
            (29.0, posting.cast),
            (1.2, posting.remove_cast),
            (0.3, posting.prune_cast),
            (36.0, posting.react),
            (2.0, posting.unreact),
            (20.5, following.follow),
            (1.6, following.unfollow),
            (0.1, following.compact),
            (0.3, following.refused),
            (6.5, profiles.edit),
            (2.0, profiles.verify),
            (0.4, profiles.unverify),
            (0.3, profiles.prove_ens),
            (0.5, self._registry.event),
            (0.2, self._registry.change_fname),
            (0.1, self._registry.lend_storage),
            (0.04, self._sign_up_user),
            (0.02 if unknown_types else 0.0, self._unknown),
        ]
        self._actions = [action for _, action in mix]
        self._weights = list(accumulate(weight for weight, _ in mix))

    def tick(self, unix_seconds: int, events: float, *, joined: float = 1.0) -> list[tuple[int, list[bytes]]]:
        """The next block of every shard: about so many events in all, and those of the newer traffic.

        `joined` is the share of users who are there by now.

        Gives (shard, the block's events as JSON) in shard order.
        """
        scribe = self._scribe
        scribe.begin(unix_seconds)
        before = scribe.written
        goal = scribe.written + max(0, events - self.world.shards)
        self._join(joined, goal)
        random, actions, weights, total = scribe.random, self._actions, self._weights, self._weights[-1]
        while scribe.written < goal:
            actions[bisect_right(weights, random() * total)]()
        self._newer.follow(unix_seconds, scribe.written - before)
        blocks: list[tuple[int, list[bytes]]] = []
        for shard, height in self.heights.items():
            blocks.append((shard, scribe.block(shard, height)))
            self.heights[shard] = height + 1
        return blocks

    @property
    def written(self) -> int:
        """Events so far, but those of the newer traffic and the copies of verifications."""
        return self._scribe.written

    def _join(self, share: float, goal: float) -> None:
        """Register those who are due by now, but at first only as many as the block holds; some are always there."""
        users = self.world.users
        due = min(self._fids, max(FIRST_USERS, int(self._fids * share)))
        while len(users) < min(FIRST_USERS, self._fids) or (len(users) < due and self._scribe.written < goal):
            self._sign_up_user()

    def _sign_up_user(self) -> None:
        if len(self.world.users) < self._fids:
            self._newest_fid += 1
            self._registry.register(self._newest_fid)

    def _unknown(self) -> None:
        """An event of a type that no release knows yet."""
        user = self.world.active(self._scribe.random)
        self._scribe.emit(user.shard, "NOT_YET_INVENTED", f'"notYetInventedBody":{{"fid":{user.fid}}}')


def _beside(rng: Random) -> Random:
    """Another sequence, which depends on this one's state and does not change it."""
    return Random(str(rng.getstate()[1][:8]))  # noqa: S311 - reproducible content, nothing secret


def generate(
    seed: int,
    *,
    fids: int,
    events: int,
    shards: int = 2,
    start_unix: int = 1_793_491_200,
    blocks_per_second: float = 1.0,
    events_per_second: float = 50.0,
    huge_fids: bool = False,
    unknown_types: bool = False,
    gasless_keys: bool = False,
    signed: bool = False,
) -> Iterator[bytes]:
    """The JSON of at least `events` events, block after block, the shards in turn; the same seed gives the same bytes.

    `fids` users join over the first half of the log. With `gasless_keys`, one in eight signs with such a key, too.
    Messages that are `signed` have true hashes and signatures, which takes some five times as long; else these are
    random bytes. The last blocks are complete, so a few events more may come. `start_unix` defaults to
    2026-11-01T00:00:00Z. Raises ConfigError for numbers that make no log.
    """
    if fids < 1 or events < 1 or shards < 1 or blocks_per_second <= 0 or events_per_second <= 0:
        raise ConfigError("a generated log needs at least one FID, event, shard, and rates above 0")
    per_tick = events_per_second / blocks_per_second
    if per_tick > MAX_EVENTS_PER_BLOCK:
        raise ConfigError(
            f"{per_tick:.0f} events per block are more than a block holds",
            hint=f"keep events_per_second / blocks_per_second below {MAX_EVENTS_PER_BLOCK}",
        )
    simulation = Simulation(
        Random(seed),  # noqa: S311 - reproducible content, nothing secret
        World(shards),
        heights=first_heights(shards),
        fids=fids,
        huge_fids=huge_fids,
        unknown_types=unknown_types,
        gasless_keys=gasless_keys,
        signed=signed,
    )
    ticks = 0
    while simulation.written < events:
        written = simulation.written
        joined = min(1.0, 2 * written / events)
        goal = (ticks + 1) * per_tick
        for _, block in simulation.tick(start_unix + int(ticks / blocks_per_second), goal - written, joined=joined):
            yield from block
        ticks += 1
