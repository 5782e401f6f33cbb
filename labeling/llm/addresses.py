"""Where a model server lies: reports go to this machine or a private network, and nowhere else.

A name is resolved here, once, and connections are made to the numbers that were checked: a name
that later points elsewhere changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from labeling.llm.interface import ModelUnavailable, UnusableLanguageModel

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)
"""RFC 1918 and RFC 4193. Link-local addresses are left out: clouds answer there."""

_PORTS = {"http": 80, "https": 443}
_DEFAULT_PATH = "/v1"


class Place(StrEnum):
    """How far the text of a report travels."""

    LOOPBACK = "this machine"
    PRIVATE = "a private network"
    PUBLIC = "a public address"


@dataclass(frozen=True)
class ServerAddress:
    """A server's address, checked; ``numbers`` are the IP addresses to connect to, in order.

    ``path`` is the beginning of all paths of the interface, without a slash at its end.
    """

    scheme: str
    host: str
    port: int
    path: str
    numbers: tuple[str, ...]
    place: Place

    @property
    def authority(self) -> str:
        """Return host and port as they stand in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def root(self) -> str:
        """Return ``path`` without the version of the interface at its end."""
        return self.path.removesuffix(_DEFAULT_PATH)


Lookup = Callable[[str, int], list[str]]
"""Returns the IP addresses of a host name.

Raises:
    OSError: it has none.
"""


def look_up(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host name, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def address_of(url: str, *, allow_public: bool = False, lookup: Lookup = look_up) -> ServerAddress:
    """Return the checked address of a URL such as ``http://127.0.0.1:8000/v1``.

    All addresses of a name must be loopback or private; one that is not refuses the name.

    Args:
        url: http or https; no user, query or fragment; without a path, /v1.
        allow_public: a person says that reports may leave the house; even then by https only.
        lookup: of names.

    Raises:
        UnusableLanguageModel: the URL has another form, or lies outside.
        ModelUnavailable: the name cannot be resolved now.
    """
    parts = _split(url)
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    try:
        numbers = tuple(lookup(host, port))
        places = [_place(ipaddress.ip_address(number)) for number in numbers]
    except (OSError, UnicodeError) as error:
        raise ModelUnavailable(f"the model server's name {host!r} is not known") from error
    except ValueError as error:
        raise UnusableLanguageModel(f"{host!r} has an address of an unknown kind") from error
    if not places:
        raise ModelUnavailable(f"the model server's name {host!r} has no address")
    place = max(places, key=list(Place).index)
    if place is Place.PUBLIC and not allow_public:
        raise UnusableLanguageModel(
            f"{host!r} is not on this machine or in a private network: reports would leave the "
            "house; allow_public_address = true permits it"
        )
    if place is Place.PUBLIC and parts.scheme != "https":
        raise UnusableLanguageModel(f"{host!r} is a public address: reports go there by https only")
    path = parts.path.rstrip("/") or _DEFAULT_PATH
    return ServerAddress(parts.scheme, host, port, path, numbers, place)


def _split(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        UnusableLanguageModel: it has another form; the URL is not quoted, it may hold a password.
    """
    if not url:
        raise UnusableLanguageModel("language_model.url is empty: which server?")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in _PORTS and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise UnusableLanguageModel(
            "language_model.url must look like http://127.0.0.1:8000/v1 (http or https)"
        )
    if parts.username is not None or parts.password is not None:
        raise UnusableLanguageModel(
            "language_model.url holds a user or password; the key goes into the environment"
        )
    if parts.query or parts.fragment:
        raise UnusableLanguageModel("language_model.url must have no query and no fragment")
    return parts


def _place(number: _IP) -> Place:
    mapped = getattr(number, "ipv4_mapped", None)
    number = mapped or number
    if number.is_loopback:
        return Place.LOOPBACK
    if any(number in network for network in _PRIVATE if network.version == number.version):
        return Place.PRIVATE
    return Place.PUBLIC
