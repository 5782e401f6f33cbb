import itertools
from typing import Any

import pytest

from dicom_node.admission import (
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    CONGESTED,
    LIMIT_EXCEEDED,
    REJECTIONS,
    Admission,
    Applicant,
)
from dicom_node.settings import CallingPeer, DicomSettings, TlsSettings

OURS = "a" * 64
THEIRS = "b" * 64
TLS = TlsSettings(certificate="c", key="k", authorities="a")

# Who really is who: the only combinations of calling title, address and certificate to let in.
TABLE = (
    CallingPeer(ae_title="BOUND", host="192.0.2.1"),
    CallingPeer(ae_title="BOUND", host="192.0.2.2", maximum_associations=1),
    CallingPeer(ae_title="RANGE", networks=("198.51.100.0/24", "2001:db8::/32")),
    CallingPeer(ae_title="SEALED", certificates=(OURS,)),
    CallingPeer(ae_title="BOTH", host="192.0.2.1", certificates=(OURS,)),
    CallingPeer(ae_title="FREE"),
)
TITLES = ("BOUND", "RANGE", "SEALED", "BOTH", "FREE", "STRANGER", "bound", "BO\\ND", " " * 16)
ADDRESSES = ("192.0.2.1", "192.0.2.2", "198.51.100.7", "2001:db8::7", "203.0.113.9")
CERTIFICATES = ("", OURS, THEIRS)
CALLED = ("RADLOOP", "OTHER")


def is_genuine(title: str, address: str, certificate: str, known_only: bool) -> bool:
    """Say by hand, title by title, who is to be let in."""
    match title:
        case "BOUND":
            return address in ("192.0.2.1", "192.0.2.2")
        case "RANGE":
            return address in ("198.51.100.7", "2001:db8::7")
        case "SEALED":
            return certificate == OURS
        case "BOTH":
            return certificate == OURS and address == "192.0.2.1"
        case "FREE":
            return True
        case "STRANGER" | "bound":
            return not known_only
    return False


def settings(**values: Any) -> DicomSettings:
    return DicomSettings(peers=TABLE, tls=TLS, **values)


def decide(admission: Admission, applicant: Applicant, **load: Any) -> str:
    return admission.refusal(
        applicant,
        associations=load.get("associations", 0),
        peer_associations=load.get("peer_associations", 0),
        has_room=load.get("has_room", True),
    )


def test_no_identity_of_the_matrix_is_wrongly_let_in_or_kept_out() -> None:
    wrong, tried = [], 0
    for known_only in (True, False):
        admission = Admission(settings(accept_unknown_peers=not known_only))
        for names in itertools.product(TITLES, CALLED, ADDRESSES, CERTIFICATES):
            title, called, address, certificate = names
            expected = CALLED_AE_UNKNOWN if called != "RADLOOP" else ""
            if not expected and not is_genuine(title, address, certificate, known_only):
                expected = CALLING_AE_UNKNOWN
            found = decide(admission, Applicant(title, called, address, certificate))
            tried += 1
            if found != expected:
                wrong.append((known_only, *names, found))
    assert tried == 2 * 9 * 2 * 5 * 3
    assert wrong == []


@pytest.mark.parametrize("address", ["::ffff:192.0.2.1", "192.0.2.1"])
@pytest.mark.parametrize("title", ["BOUND", "BOUND           ", "  BOUND"])
def test_padding_and_the_form_of_an_address_do_not_count(title: str, address: str) -> None:
    assert decide(Admission(settings()), Applicant(title, " RADLOOP ", address)) == ""


@pytest.mark.parametrize("title", ["BOUND\0", "\tBOUND", "BOUND\u00a0", "BOÜND", "", "X" * 17])
def test_a_title_that_only_looks_like_a_listed_one_is_nobody(title: str) -> None:
    admission = Admission(settings(accept_unknown_peers=True))
    assert decide(admission, Applicant(title, "RADLOOP", "192.0.2.1")) == CALLING_AE_UNKNOWN


def test_what_no_address_can_be_matches_nothing() -> None:
    admission = Admission(settings())
    for address in ("", "localhost", "192.0.2.1.", "192.0.2.01", "fe80::1%192.0.2.1"):
        assert decide(admission, Applicant("BOUND", "RADLOOP", address)) == CALLING_AE_UNKNOWN
    assert decide(admission, Applicant("FREE", "RADLOOP", "")) == ""


def test_the_entry_that_matches_is_the_peer() -> None:
    admission = Admission(settings(accept_unknown_peers=True))
    found = admission.peer(Applicant("BOUND", "RADLOOP", "192.0.2.2"))
    assert found is not None
    assert found.maximum_associations == 1
    assert admission.peer(Applicant("BOUND", "RADLOOP", "192.0.2.3")) is None
    assert admission.peer(Applicant("STRANGER", "RADLOOP", "192.0.2.3")) is None


def test_a_host_name_is_looked_up_and_an_unknown_one_binds_to_nothing() -> None:
    peers = (
        CallingPeer(ae_title="HERE", host="localhost"),
        CallingPeer(ae_title="NOWHERE", host="no..such.host"),
    )
    admission = Admission(DicomSettings(peers=peers, accept_unknown_peers=True))
    assert decide(admission, Applicant("HERE", "RADLOOP", "127.0.0.1")) == ""
    assert decide(admission, Applicant("HERE", "RADLOOP", "192.0.2.1")) == CALLING_AE_UNKNOWN
    assert decide(admission, Applicant("NOWHERE", "RADLOOP", "127.0.0.1")) == CALLING_AE_UNKNOWN


@pytest.mark.parametrize(
    ("title", "load", "expected"),
    [
        ("BOUND", {"peer_associations": 1}, LIMIT_EXCEEDED),
        ("RANGE", {"peer_associations": 100}, ""),
        ("RANGE", {"associations": 16}, LIMIT_EXCEEDED),
        ("RANGE", {"has_room": False, "associations": 16}, CONGESTED),
        ("STRANGER", {"has_room": False, "associations": 16}, CALLING_AE_UNKNOWN),
    ],
)
def test_limits_are_transient_and_come_after_identity(
    title: str, load: dict[str, Any], expected: str
) -> None:
    address = {"BOUND": "192.0.2.2", "RANGE": "198.51.100.7"}.get(title, "192.0.2.1")
    admission = Admission(settings(associations_per_process=16))
    found = decide(admission, Applicant(title, "RADLOOP", address), **load)
    assert found == expected
    assert not found or REJECTIONS[found][0] == (1 if found == CALLING_AE_UNKNOWN else 2)


def test_a_called_title_may_be_left_unchecked() -> None:
    admission = Admission(settings(check_called_ae_title=False))
    assert decide(admission, Applicant("FREE", "ANY-SCP", "192.0.2.1")) == ""
