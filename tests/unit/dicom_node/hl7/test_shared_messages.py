"""Every message of the shared corpora is read, ignored or refused, each for its known reason."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.hl7.files import read_hl7_file
from dicom_node.hl7.parsed import ParsedMessage
from dicom_node.hl7.reader import MESSAGE_TYPES
from dicom_node.hl7.text import ContentFault
from tests.hl7_builders import shared_folder
from tests.hl7_messages import read

# By folder: how often a message ends in what; a fault as segment, field and code.
EXPECTED: dict[str, dict[object, int]] = {
    "dcm4che": {
        "read": 7,
        "ignored": 1,  # SIU^S12
        ("MSH", 18, 102): 3,  # a dash in UTF-8 under MSH-18 8859/1
    },
    "linuxforhealth": {"ignored": 4},
}


def outcome(content: bytes) -> tuple[object, ParsedMessage | None]:
    try:
        parsed = read(content, result_statuses={})
    except ContentFault as fault:
        return (fault.segment, fault.field, fault.code), None
    return "ignored" if parsed.ignored else "read", parsed


def messages(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            for content in read_hl7_file(path):
                yield path.name, content


@pytest.mark.parametrize("name", EXPECTED)
def test_outcomes(name: str) -> None:
    found = Counter(outcome(content)[0] for _, content in messages(shared_folder("hl7") / name))
    assert found == Counter(EXPECTED[name])


def test_every_message_is_accounted_for() -> None:
    found: Counter[object] = Counter()
    for _, content in messages(shared_folder("hl7")):
        result, parsed = outcome(content)
        found[result] += 1
        if parsed is not None and result == "read":
            assert parsed.envelope.message_type in MESSAGE_TYPES
            assert parsed.reports or parsed.orders or parsed.patient_events
    assert sum(found.values()) > 400
    assert found["read"] > 150


def test_text_of_the_radiology_feed_is_all_there() -> None:
    """Each line of OBX-5 in the file is a line of the report, in its order."""
    words = {"Final": "F", "Prelim": "P", "Wet Read": "P"}
    compared = 0
    for _, content in messages(shared_folder("hl7") / "scout_synthetic_rad"):
        if not content.startswith(b"MSH|") or b"|ORU^R01|" not in content:
            continue
        try:
            parsed = read(content, result_statuses=words, observation_statuses=words)
        except ContentFault:
            continue
        fields = [line.split("|") for line in content.decode().split("\r")]
        lines = [
            line
            for each in fields
            if each[0] == "OBX" and each[2] in ("TX", "FT", "ST")
            for line in each[5].split("~")
        ]
        parts = [part for report in parsed.reports for part in report.parts]
        if "\\" not in "".join(lines):
            assert [line for part in parts for line in part.text.split("\n")] == lines
            compared += 1
    assert compared > 250


def test_samples_with_a_document_and_with_a_structured_report() -> None:
    found = {}
    for name, content in messages(shared_folder("hl7") / "dcm4che"):
        if name.startswith("ORU^R01-"):
            (found[name.removeprefix("ORU^R01-").removesuffix(".hl7")],) = read(content).reports
    documents = {
        name: [part.document.media_type for part in report.parts if part.document]
        for name, report in found.items()
    }
    assert documents == {"CDA": ["text/xml"], "PDF": ["application/pdf"], "SR": []}
    assert len(found["CDA"].study_instance_uids) == 2
    assert {report.accessions[0].value for report in found.values()} == {"AccessionNumber"}
    assert len(found["SR"].parts) == 12
    assert found["SR"].parts[4].text == "Malignant neoplasm of left renal pelvis"
