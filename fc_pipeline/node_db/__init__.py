"""Reads the files of a Snapchain node's databases, and the archives of them that nodes publish (node-db 1–4)."""
