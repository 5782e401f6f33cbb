import pytest

from labeling.llm.addresses import Place, address_of
from labeling.llm.interface import ModelUnavailable, UnusableLanguageModel


def found(*numbers):
    return lambda host, port: list(numbers)


@pytest.mark.parametrize(
    ("number", "place"),
    [
        ("127.0.0.1", Place.LOOPBACK),
        ("127.9.9.9", Place.LOOPBACK),
        ("::1", Place.LOOPBACK),
        ("::ffff:127.0.0.1", Place.LOOPBACK),
        ("10.1.2.3", Place.PRIVATE),
        ("172.31.255.255", Place.PRIVATE),
        ("192.168.0.9", Place.PRIVATE),
        ("fd12::1", Place.PRIVATE),
        ("::ffff:10.0.0.1", Place.PRIVATE),
    ],
)
def test_this_machine_and_private_networks_may_read_reports(number, place):
    address = address_of("http://llm.house:8000/v1/", lookup=found(number))
    assert (address.place, address.numbers) == (place, (number,))
    assert (address.path, address.root, address.authority) == ("/v1", "", "llm.house:8000")


@pytest.mark.parametrize(
    "number",
    [
        "8.8.8.8",
        "172.32.0.1",
        "11.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "192.0.2.1",
        "2001:4860::1",
        "fe80::1",
        "::ffff:8.8.8.8",
        "::",
    ],
)
def test_any_other_address_is_refused(number):
    with pytest.raises(UnusableLanguageModel, match="reports would leave the house"):
        address_of("https://llm.example/v1", lookup=found(number))


def test_a_name_with_one_public_address_is_refused():
    with pytest.raises(UnusableLanguageModel, match="leave the house"):
        address_of("http://llm.house/v1", lookup=found("10.0.0.1", "8.8.8.8"))


def test_a_public_address_needs_permission_and_encryption():
    with pytest.raises(UnusableLanguageModel, match="by https only"):
        address_of("http://llm.example/v1", allow_public=True, lookup=found("8.8.8.8"))
    address = address_of("https://llm.example", allow_public=True, lookup=found("8.8.8.8"))
    assert (address.place, address.port, address.path) == (Place.PUBLIC, 443, "/v1")
    assert address.authority == "llm.example"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/v1",
        "127.0.0.1:8000/v1",
        "http://",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1:0/v1",
        "http://[::1/v1",
        "http://127.0.0.1/v1\r\nX: y",
        "http://127.0.0.1/v 1",
        "http://h\u00f6st/v1",
        "http://127.0.0.1/v1?key=sk-canary",
        "http://127.0.0.1/v1#sk-canary",
        "http://user:sk-canary@127.0.0.1/v1",
        "",
    ],
)
def test_another_form_of_url_is_refused_and_not_quoted(url):
    with pytest.raises(UnusableLanguageModel, match=r"language_model\.url") as error:
        address_of(url, lookup=found("127.0.0.1"))
    assert "canary" not in str(error.value)


def test_a_number_in_another_notation_is_judged_by_what_it_means():
    with pytest.raises(UnusableLanguageModel, match="leave the house"):
        address_of("http://134744072/v1", lookup=found("8.8.8.8"))


def test_a_server_may_lie_below_a_path():
    address = address_of("http://[::1]:8000/llm/v1", lookup=found("::1"))
    assert (address.path, address.root, address.authority) == ("/llm/v1", "/llm", "[::1]:8000")


def test_an_unknown_name_may_be_known_later():
    def unknown(host, port):
        raise OSError("no such name")

    with pytest.raises(ModelUnavailable, match=r"'llm.house' is not known"):
        address_of("http://llm.house/v1", lookup=unknown)
    with pytest.raises(ModelUnavailable, match="no address"):
        address_of("http://llm.house/v1", lookup=found())
