"""The live set of each shard: the leaves that our rows say its trie has, their digests per FID, and the root.

The tables of rows hold most leaves, `pipeline.other_leaves` the rest. Digests follow them off the hot path: a fold only
notes which FIDs it touched (store.touched_fids).
"""
