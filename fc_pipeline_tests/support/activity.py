"""Activity counted one event at a time."""

from collections import Counter

from fc_pipeline_tests.support.events import Event, Json


def plainly(log: list[Event]) -> Counter[tuple[int, str]]:
    """The same counts, message by message."""
    counts: Counter[tuple[int, str]] = Counter()
    for event in log:
        if "mergeMessageBody" not in event:
            continue
        data: Json = event["mergeMessageBody"]["message"]["data"]
        who = data["fid"]
        match data["type"]:
            case "MESSAGE_TYPE_CAST_ADD":
                counts[who, "casts"] += 1
                if parent := data["castAddBody"]["parentCastId"]:
                    counts[who, "replies"] += 1
                    counts[parent["fid"], "replies_received"] += 1
            case "MESSAGE_TYPE_CAST_REMOVE":
                counts[who, "casts_removed"] += 1
            case "MESSAGE_TYPE_REACTION_ADD":
                kind = "likes" if data["reactionBody"]["type"].endswith("LIKE") else "recasts"
                counts[who, kind] += 1
                if target := data["reactionBody"].get("targetCastId"):
                    counts[target["fid"], f"{kind}_received"] += 1
            case "MESSAGE_TYPE_LINK_ADD" if data["linkBody"]["type"] == "follow":
                counts[who, "follows"] += 1
                counts[data["linkBody"]["targetFid"], "follows_received"] += 1
            case "MESSAGE_TYPE_LINK_REMOVE" if data["linkBody"]["type"] == "follow":
                counts[who, "unfollows"] += 1
            case _:
                pass
    return counts
