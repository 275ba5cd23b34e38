import pytest

from fc_pipeline.sample_hub.query import BadQuery, Query


def test_plus_is_a_space_and_percent_decodes():
    assert Query(b"name=a+b%2Bc%C3%BC").text("name") == "a b+cü"


def test_the_snake_spelling_wins_and_empty_is_absent():
    query = Query(b"pageSize=7&page_size=3&shard_index=")
    assert query.integer("page_size", "pageSize") == 3
    assert Query(b"page_size=&pageSize=7").integer("page_size", "pageSize") == 7
    assert query.integer("shard_index") is None


def test_brackets_nest_only_when_not_encoded():
    assert Query(b"target_cast_id[fid]=2").integer("target_cast_id[fid]") == 2
    assert Query(b"target_cast_id%5Bfid%5D=2").integer("target_cast_id[fid]") is None


@pytest.mark.parametrize("raw", [b"a=1&a=2", b"a=1&%61=2", b"a=%ff", b"%ff=1"])
def test_what_cannot_be_parsed_at_all(raw: bytes):
    with pytest.raises(BadQuery):
        Query(raw)


@pytest.mark.parametrize("value", [b"", b"1.0", b"abc", b"-1", b"1_000", b"0x10", b"18446744073709551616", b"%D9%A1"])
def test_strict_required_integers(value: bytes):
    with pytest.raises(BadQuery):
        Query(b"fid=" + value).required_integer("fid")


def test_the_largest_integer_is_taken():
    assert Query(b"fid=18446744073709551615").required_integer("fid") == 2**64 - 1
    with pytest.raises(BadQuery, match="missing field `fid`"):
        Query(b"").required_integer("fid")


def test_flags_and_choices_are_exact():
    assert Query(b"reverse=true").flag("reverse")
    assert not Query(b"reverse=false").flag("reverse")
    assert not Query(b"").flag("reverse")
    with pytest.raises(BadQuery):
        Query(b"reverse=1").flag("reverse")
    with pytest.raises(BadQuery, match="unknown variant `like`"):
        Query(b"reaction_type=like").required_choice("reaction_type", ("Like",))
