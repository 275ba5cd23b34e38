"""Sending: what is accepted and what is not is said, and never the address."""

import logging
import sys

import pytest

from fc_pipeline.alerts.addresses import addresses_of
from fc_pipeline.alerts.message import Message
from fc_pipeline.errors import ConfigError
from fc_pipeline_tests.support.receiver import receiving

MESSAGE = Message("a title", "a body <b>& more</b>", "red")
CANARY = "canary4711"


def test_a_message_arrives_as_it_is() -> None:
    with receiving() as receiver:
        (address,) = addresses_of([receiver.url])
        assert address.send(MESSAGE) is None
        (arrived,) = receiver.messages
    assert (arrived["title"], arrived["message"], arrived["type"]) == ("a title", MESSAGE.body, "failure")


def test_why_it_was_not_accepted() -> None:
    with receiving(status=403) as receiver:
        (address,) = addresses_of([receiver.url])
        assert address.send(MESSAGE) == "it answered with HTTP 403"
    assert address.send(MESSAGE) == "it cannot be reached"


def test_no_secret_comes_out(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    with receiving(status=500) as receiver:
        url = f"json://user:{CANARY}@127.0.0.1:{receiver.port}/{CANARY}?+X-Key={CANARY}"
        (address,) = addresses_of([url])
        said = [address.send(MESSAGE), repr(address), str(address), address.name, address.key]
    said.append(address.send(MESSAGE))
    out, err = capfd.readouterr()
    for text in [*map(str, said), out, err, caplog.text]:
        assert CANARY not in text
    assert said[0] == "it answered with HTTP 500"


def test_a_url_that_apprise_does_not_know_is_refused_by_its_number() -> None:
    with pytest.raises(ConfigError) as refused:
        addresses_of(["json://127.0.0.1:1", f"nosuch://{CANARY}"])
    assert "number 2" in refused.value.message
    assert CANARY not in str(refused.value)


def test_without_apprise_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses_of([]) == []
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError) as refused:
        addresses_of(["json://127.0.0.1:1"])
    assert "pip install 'fc-pipeline[alerts]'" in str(refused.value)
