import pytest

from fc_pipeline.plain_text import shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hunter2@h:5432/d", "postgresql://me@h:5432/d"),
        ("postgresql://me:hunter2@/d?host=%2Frun%2Fpg&password=hunter2", "postgresql://me@/d?host=/run/pg"),
        ("postgresql://h/d?user=me&password=hunter2&sslpassword=hunter2", "postgresql://h/d?user=me"),
        ("unix://:hunter2@/run/redis.sock?db=0", "unix:///run/redis.sock?db=0"),
        ("rediss://me:hunter2@h:1/0?password=hunter2", "rediss://me@h:1/0"),
        ("s3://AKIA:hunter2@bucket/lake?region=eu-1&secret_key=hunter2", "s3://AKIA@bucket/lake?region=eu-1"),
        ("data/lake", "data/lake"),
        ("redis://h/\x1b[2J", "redis://h/\\x1b[2J"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str):
    assert shown_url(url) == shown
