"""What a declaration of a derived table is refused for, before any SQL is made of it."""

from dataclasses import replace

import pytest

from fc_pipeline.tables.embeds import CAST_EMBEDS


def test_a_scope_is_part_of_the_key():
    with pytest.raises(ValueError, match="embeds: the scope is part of the key"):
        replace(CAST_EMBEDS, scope=("url",))


@pytest.mark.parametrize(
    "declared",
    [
        {"touched": {"casts": "SELECT hash FROM {rows}"}},
        {"rows": "SELECT hash FROM {scope} WHERE true"},
        {"of_fids": "SELECT hash FROM {fids}"},
    ],
    ids=lambda declared: next(iter(declared)),
)
def test_each_relation_that_is_put_in_has_a_name(declared: dict[str, object]):
    """Postgres 15 takes no query without one, newer servers do."""
    with pytest.raises(ValueError, match="embeds: a relation without a name in 'SELECT hash"):
        replace(CAST_EMBEDS, **declared)  # type: ignore[arg-type]
