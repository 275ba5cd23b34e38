"""One module per table: its columns, how its rows come out of messages and events, its key and its fold rule.

Knows the hub's wire types and nothing of how rows reach Postgres. Adding a table is adding a module here, naming it in
`registry`, and writing its asset.
"""
