import pytest

from fc_pipeline.errors import ConfigError
from fc_pipeline.hub.endpoint import HubEndpoint


def test_a_hub_on_this_machine_is_known_by_its_address() -> None:
    urls = ["http://127.0.0.1:3381", "http://localhost:1", "http://[::1]:1", "https://hub.example:3381/"]
    assert [HubEndpoint(url).is_loopback for url in urls] == [True, True, True, False]


def test_names_hide_user_password_and_path() -> None:
    endpoint = HubEndpoint("https://me:hunter2@hub.example:3381/t0ken/")
    assert endpoint.name == "https://hub.example:3381"
    assert endpoint.base_url == "https://hub.example:3381/t0ken"
    assert endpoint.basic_auth == ("me", "hunter2")
    assert repr(endpoint) == "HubEndpoint(requests_per_second=None, name='https://hub.example:3381')"


@pytest.mark.parametrize(
    "url",
    ["", "hub.example:3381", "ftp://s3cret", "http://", "http://h:s3cret", "https://h/?key=s3cret", "http://[s3cret"],
)
def test_unusable_addresses_name_the_variable_and_show_nothing(url: str) -> None:
    with pytest.raises(ConfigError, match="FC_HUB_URLS") as caught:
        HubEndpoint(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("headers", [{"x-key": "s3cret\n"}, {"x key": "s3cret"}, {"x-key": "s3crét"}, {"x-key": 5}])
def test_unusable_headers_name_the_variable_and_show_nothing(headers: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="FC_HUB_HEADERS") as caught:
        HubEndpoint("http://h", headers)
    assert "s3cr" not in str(caught.value)


def test_a_rate_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="FC_HUB_RPS"):
        HubEndpoint("http://h", requests_per_second=0)
