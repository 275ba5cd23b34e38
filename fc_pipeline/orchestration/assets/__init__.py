"""Dagster assets: what each is, and one call. What they do is in the packages below this one."""
