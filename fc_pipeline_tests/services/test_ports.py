"""Ports are looked for where they will be listened on."""

import socket

import pytest

from fc_pipeline.errors import ServiceError
from fc_pipeline.services.ports import free_port


@pytest.mark.parametrize(("taken_on", "asked_for"), [("127.0.0.2", "127.0.0.2"), ("127.0.0.2", "0.0.0.0")])  # noqa: S104
def test_a_port_that_is_taken_on_the_asked_address_is_not_given(taken_on: str, asked_for: str):
    with socket.create_server((taken_on, 0)) as listening:
        port = listening.getsockname()[1]
        assert free_port(port, asked_for) != port
        assert free_port(port, "127.0.0.3") == port


def test_names_are_looked_up():
    port = free_port()
    assert free_port(port, "localhost") == port


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_an_address_of_ipv6():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        port = listening.getsockname()[1]
        assert free_port(port, "::1") != port


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_another_machine_is_named(host: str):
    with pytest.raises(ServiceError, match=f"no free port on {host}: .") as caught:
        free_port(9464, host)
    assert "this machine" in str(caught.value.hint)
