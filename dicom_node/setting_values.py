"""Types of single values in the settings: each is checked and brought into one form when read."""

from __future__ import annotations

import codecs
import ipaddress
import re
import zoneinfo
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_UID = re.compile(r"(?=.{1,64}\Z)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")


class Section(BaseModel):
    """A section of the settings file: unknown keys are refused, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def is_ae_title(value: str) -> bool:
    """Tell whether ``value`` is an AE title (PS3.5 section 6.2): 1 to 16 characters of the default
    repertoire without backslash and control characters, and not only spaces.
    """
    return (
        len(value) <= 16
        and bool(value.strip(" "))
        and all(" " <= character <= "~" and character != "\\" for character in value)
    )


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ae_title(value: str) -> str:
    if not is_ae_title(value):
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return value.strip(" ")


def _ae_title_or_none(value: str) -> str:
    return _ae_title(value) if value else value


def _fingerprint(value: str) -> str:
    digits = value.replace(":", "").lower()
    if _FINGERPRINT.fullmatch(digits) is None:
        raise ValueError("a SHA-256 fingerprint has 64 hexadecimal digits")
    return digits


def _codec(name: str) -> str:
    try:
        codecs.lookup(name or "ascii")
    except LookupError:
        raise ValueError("there is no codec of this name") from None
    return name


def _time_zone(name: str) -> str:
    if name:
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("there is no time zone of this name, such as Europe/Berlin") from None
    return name


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"this is no network such as 192.0.2.0/24: {error}") from None


def _uid(value: str) -> str:
    if _UID.fullmatch(value) is None:
        raise ValueError("this is no UID (PS3.5 section 9.1)")
    return value


AeTitle = Annotated[str, Field(max_length=16), AfterValidator(_ae_title)]
"""An AE title without its leading and trailing spaces, which do not count (PS3.5 6.2)."""

OptionalAeTitle = Annotated[str, Field(max_length=16), AfterValidator(_ae_title_or_none)]
"""As :data:`AeTitle`; empty where there is none."""

Codec = Annotated[str, AfterValidator(_codec)]
"""The name of a Python codec; empty where a general default applies."""

TimeZone = Annotated[str, AfterValidator(_time_zone)]
"""The name of a time zone in the IANA database; empty: unknown."""

Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
"""SHA-256 over a certificate's DER form: 64 lower-case hexadecimal digits."""

Network = Annotated[str, AfterValidator(_network)]
"""An IPv4 or IPv6 network in CIDR notation, without host bits."""

Uid = Annotated[str, AfterValidator(_uid)]
"""A well-formed UID."""
