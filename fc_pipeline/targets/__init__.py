"""The target set: the users to index and why, in Postgres; its copy in Redis; and which rows concern it.

Belongs here: how the set follows from roots, follows and sign-ups, who is in it, what the rule selects. Does not belong
here: folding (`fold`), fetching a new target's history (`repair`).
"""
