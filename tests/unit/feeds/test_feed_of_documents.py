"""The profile of what came as structured reports: this node writes their messages itself."""

from __future__ import annotations

from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.registry import Profiles
from dicom_node.mllp.received import may_send
from dicom_node.settings import Hl7Settings


def test_nobody_sends_under_the_name_of_structured_reports() -> None:
    listed = FeedProfile(
        sender="SR|PACS", report_number_fields=("OBR-2",), issuer_of_patient_id="HOSP"
    )
    profiles = Profiles(Hl7Settings(feeds=(listed,)))
    found = profiles.of("SR|PACS")
    assert (found.report_number_fields, found.accession_number_fields) == (("OBR-3",), ("OBR-18",))
    assert found.issuer_of_patient_id == "HOSP"
    assert profiles.accepted("SR|PACS")
    assert not profiles.accepted("SR|OTHER")
    for sender in ("SR|PACS", "SR|OTHER"):
        profile = profiles.of(sender)
        for address in ("127.0.0.1", "10.1.2.3", "::1"):
            assert not may_send(profile.networks, profile.certificates, address, "")
    other = profiles.of("RIS|PACS")
    assert may_send(other.networks, other.certificates, "10.1.2.3", "")
