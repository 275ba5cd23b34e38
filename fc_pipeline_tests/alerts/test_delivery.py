"""Messages by mail, chat and webhooks, each to a real server of the kind: what arrives there is what was said."""

import json
import re
from urllib.parse import parse_qs
from xml.sax.saxutils import unescape

import pytest

from fc_pipeline.alerts.addresses import Address, addresses_of
from fc_pipeline.alerts.condition import Condition, Severity
from fc_pipeline.alerts.message import MAX_TURNS, Message, compose
from fc_pipeline.alerts.turns import Turn
from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.support.mail_receiver import receiving_mail
from fc_pipeline_tests.support.web_receiver import Posted, receiving_posts

MESSAGE = Message(
    "fc_pipeline red: check a of b", "RED: check a of b\nTo do: `mend` <it> & *look* at ümlauts\n\nhost", "red"
)
PASSWORD = "canary-9911"
TOKEN = "canary" + "7" * 20
MATTERMOST_LETTERS = 4000


def address(url: str) -> Address:
    (found,) = addresses_of([url])
    return found


def _in_json(posted: Posted, *names: str) -> list[str]:
    said = json.loads(posted.body)
    return [said[name] for name in names]


def _in_form(posted: Posted, *names: str) -> list[str]:
    said = parse_qs(posted.body)
    return [said[name][0] for name in names]


def _in_xml(posted: Posted, *names: str) -> list[str]:
    found = [re.search(f"<{name}>(.*)</{name}>", posted.body, re.DOTALL) for name in names]
    return [unescape(one[1]) for one in found if one is not None]


@pytest.mark.parametrize("says_password", [True, False])
def test_a_mail_arrives_where_the_account_is_right(says_password: bool, caplog: pytest.LogCaptureFixture) -> None:
    with receiving_mail("bot", PASSWORD) as receiver:
        word = PASSWORD if says_password else f"{PASSWORD}-wrong"
        to = address(f"mailto://bot:{word}@localhost:{receiver.port}?mode=insecure&to=me@example.com")
        refusal = to.send(MESSAGE)
    if not says_password:
        assert refusal is not None
        assert receiver.messages == []
    else:
        assert refusal is None
        (mail,) = receiver.messages
        assert (mail["Subject"], mail["To"]) == (MESSAGE.title, "me@example.com")
        body = mail.get_body(("plain",))
        assert body is not None
        assert body.get_content().replace("\r\n", "\n").strip() == MESSAGE.body
    for text in (str(refusal), repr(to), caplog.text):
        assert PASSWORD not in text


def test_a_mail_server_that_is_not_there_is_said() -> None:
    to = address(f"mailto://bot:{PASSWORD}@localhost:{free_port()}?mode=insecure&to=me@example.com")
    assert to.send(MESSAGE) == "it cannot be reached"


@pytest.mark.parametrize(
    ("url", "path", "read", "names"),
    [
        ("json://127.0.0.1:{port}/a", "/a", _in_json, ("title", "message", "type")),
        ("form://127.0.0.1:{port}/a", "/a", _in_form, ("title", "message", "type")),
        ("xml://127.0.0.1:{port}/a", "/a", _in_xml, ("Subject", "Message", "MessageType")),
    ],
)
def test_a_webhook_has_title_message_and_type(url: str, path: str, read: object, names: tuple[str, ...]) -> None:
    assert callable(read)
    with receiving_posts() as receiver:
        assert address(url.format(port=receiver.port)).send(MESSAGE) is None
    (posted,) = receiver.posted
    assert posted.path == path
    assert read(posted, *names) == [MESSAGE.title, MESSAGE.body, "failure"]


@pytest.mark.parametrize(
    ("url", "path", "name"),
    [
        ("mmost://127.0.0.1:{port}/" + TOKEN, f"/hooks/{TOKEN}", "text"),
        ("ntfy://127.0.0.1:{port}/topic", "/", "message"),
        ("gotify://127.0.0.1:{port}/" + TOKEN, "/message", "message"),
    ],
)
def test_chats_that_are_hosted_by_oneself_have_the_words(url: str, path: str, name: str) -> None:
    with receiving_posts() as receiver:
        to = address(url.format(port=receiver.port))
        assert to.send(MESSAGE) is None
    (posted,) = receiver.posted
    assert posted.path.partition("?")[0] == path
    assert MESSAGE.body in json.loads(posted.body)[name].replace("\r\n", "\n")
    assert TOKEN not in repr(to)


def test_what_is_longer_than_a_chat_takes_comes_in_parts_and_whole() -> None:
    """Mattermost takes 4,000 letters, Discord 2,000: one that is longer would be refused again and again."""
    conditions = [
        Condition(f"check:{n}", Severity.RED, f"check {n:02}", "why " * 60, f"mend {n:02}") for n in range(MAX_TURNS)
    ]
    message = compose([Turn(one, 0.0, 0.0, is_over=False, waiting=frozenset()) for one in conditions], "host")
    assert len(message.body) > MATTERMOST_LETTERS
    with receiving_posts(most_letters=MATTERMOST_LETTERS + 500) as receiver:
        assert address(f"mmost://127.0.0.1:{receiver.port}/{TOKEN}").send(message) is None
    said = "".join(json.loads(one.body)["text"] for one in receiver.posted)
    assert len(receiver.posted) > 1
    assert [n for n in range(MAX_TURNS) if f"mend {n:02}" not in said] == []
