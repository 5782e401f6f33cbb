"""What each document is taken for, and by which sign."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.documents.classifying import (
    MOST_REJECTED,
    READ,
    Own,
    Verdict,
    beyond,
    classify,
    doubt,
    signs_of,
)
from dicom_node.documents.kinds import Kind
from dicom_node.headers import elements_of, read_header
from dicom_node.history.messages import message_of
from dicom_node.history.sr_tree import DEEPEST_CONTENT
from dicom_node.history.structured import report_of_elements
from dicom_node.sr.building import build_structured_report
from tests import document_builders as build
from tests.builders import mr_image, uid, write_file
from tests.shared_data import SHARED
from tests.sr_builders import ALGORITHM, ANALYSED_AT, DEVICE, MRI, findings, images

OURS = uid("document", "S1", "ours")
TRACKING = "2.25.77"
OWN = Own(frozenset({OURS}), frozenset({ALGORITHM.device_uid}), frozenset({TRACKING}))


def verdict(folder: Path, data_set: Dataset, own: Own = OWN) -> Verdict:
    """Judge an object as the node does: what the parser hands out, and nothing else."""
    path = write_file(folder / "document.dcm", data_set)
    with path.open("rb") as file:
        document = elements_of(file, READ)
    return classify(read_header(path), document, signs_of(document), own)


def ours(**changes: Any) -> Dataset:
    document = build_structured_report(
        images(), findings(), ALGORITHM, DEVICE, MRI, ANALYSED_AT, ("weights", "study")
    )
    for keyword, value in changes.items():
        setattr(document, keyword, value)
    return document


def test_our_report_is_ours_under_any_uid_and_whoever_knows_it(tmp_path: Path) -> None:
    known = Own(frozenset({str(ours().SOPInstanceUID)}))
    for own in (known, OWN, Own()):
        assert verdict(tmp_path, ours(), own).kind is Kind.OURS
    assert verdict(tmp_path, ours(SOPInstanceUID="2.25.5"), known).kind is Kind.OURS
    retitled = ours(ConceptNameCodeSequence=[build.code("126000")])
    assert verdict(tmp_path, retitled, OWN).kind is Kind.OURS


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (
            build.text_report(
                PredecessorDocumentsSequence=build.references([("1.2", "1.2.1", OURS)])
            ),
            "replaces",
        ),
        (build.measurements("m", build.person(), tracking=TRACKING), "findings of ours"),
        (build.measurements("m", build.observer(build.DEVICE), tracking=TRACKING), "findings"),
        (
            build.measurements(
                "m",
                build.person(),
                CurrentRequestedProcedureEvidenceSequence=build.references(
                    [("1.2", "1.2.1", OURS)]
                ),
            ),
            "cite",
        ),
        (ours(**build.verified()), "person's version"),
    ],
)
def test_a_word_on_ours_by_somebody_else_is_a_correction(
    tmp_path: Path, document: Dataset, why: str
) -> None:
    found = verdict(tmp_path, document)
    assert found.kind is Kind.CORRECTION
    assert why in found.why
    if "findings" not in why and "version" not in why:
        assert found.refers_to == (OURS,)


def test_who_verified_ours_under_its_own_uid_is_kept(tmp_path: Path) -> None:
    document = ours(**build.verified("Reader^Ron"))
    found = verdict(tmp_path, document, Own(frozenset({str(document.SOPInstanceUID)})))
    assert (found.kind, found.verified, found.observers) == (
        Kind.CORRECTION,
        True,
        ("Reader^Ron",),
    )


@pytest.mark.parametrize(
    "document",
    [
        build.text_report(),
        build.text_report(sop_class=build.ENHANCED, title=build.code("25056-3", "LN")),
        build.text_report(title=build.code("REPORT", "99HOSP")),
        build.document("named", build.person(), build.findings("No fracture.")),
        build.document(
            "author", build.findings("No fracture."), AuthorObserverSequence=[build.author("PSN")]
        ),
        build.text_report(sop_class=build.ENHANCED, title=build.code("RADREP", "99HOSP")),
        # Who dictates does so into something.
        build.document(
            "dictated",
            build.observer(),
            build.person(),
            build.observer(build.DEVICE),
            build.findings("No fracture."),
            **build.verified(),
        ),
    ],
)
def test_what_a_person_wrote_is_a_report(tmp_path: Path, document: Dataset) -> None:
    found = verdict(tmp_path, document)
    assert (found.kind, found.refers_to) == (Kind.REPORT, ())


def test_a_report_that_cites_ours_says_so(tmp_path: Path) -> None:
    evidence = build.references([("1.2", "1.2.1", OURS)])
    found = verdict(tmp_path, build.text_report(PertinentOtherEvidenceSequence=evidence))
    assert (found.kind, found.refers_to) == (Kind.REPORT, (OURS,))


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (build.document("dose", build.findings("x"), sop_class=build.DOSE), "radiation dose"),
        (build.document("cad", sop_class="1.2.840.10008.5.1.4.1.1.88.50"), "mammography CAD"),
        (build.document("a", build.observer(build.DEVICE), build.findings("x")), "device"),
        (build.document("empty", build.person()), "without text"),
        (build.document("plain", build.findings("No fracture.")), "nothing says that a person"),
        (
            build.document(
                "author", build.findings("x"), AuthorObserverSequence=[build.author("DEV")]
            ),
            "device",
        ),
        (
            build.document(
                "unsaid",
                build.content_item("TEXT", build.code("121013"), TextValue="AIcad"),
                build.content_item("UIDREF", build.code("121012"), UID="2.25.77"),
                build.findings("x"),
            ),
            "device",
        ),
        (
            build.document(
                "ai",
                build.person(),
                build.findings("x"),
                build.nested(build.content_item("TEXT", build.code("111001"), TextValue="AI"), 4),
                **build.verified(),
            ),
            "algorithm",
        ),
        (
            build.document(
                "circumstances",
                build.person(),
                build.in_relation(
                    "HAS OBS CONTEXT",
                    build.content_item("TEXT", build.code("121009"), TextValue="Hospital"),
                ),
                build.in_relation("HAS ACQ CONTEXT", build.findings("given contrast")),
            ),
            "without text",
        ),
        (build.measurements("m", build.person()), "measurement"),
        (
            build.text_report(sop_class=build.ENHANCED, title=build.code("125200")),
            "title is none of a report",
        ),
        (build.rejection_note([mr_image()], "113000"), "rejects nothing"),
    ],
)
def test_the_rest_is_something_else(tmp_path: Path, document: Dataset, why: str) -> None:
    found = verdict(tmp_path, document)
    assert found.kind is Kind.OTHER
    assert why in found.why


def test_text_that_is_cut_off_by_its_depth_is_not_taken(tmp_path: Path) -> None:
    def judged(levels: int) -> Verdict:
        item = build.nested(build.content_item("TEXT", build.code("121071"), TextValue="x"), levels)
        return verdict(tmp_path, build.text_report("shallow", ContentSequence=[item]))

    assert judged(DEEPEST_CONTENT - 1).kind is Kind.REPORT
    for levels in (DEEPEST_CONTENT, DEEPEST_CONTENT + 1, DEEPEST_CONTENT + 12):
        found = judged(levels)
        assert found.kind is Kind.OTHER
        assert "deeper" in found.why


def test_all_text_is_taken_wherever_it_stands(tmp_path: Path) -> None:
    below = build.content_item("TEXT", build.code("121106"), TextValue="NOT present: ruled out.")
    above = build.content_item("TEXT", build.code("121071"), below, TextValue="Disc herniation.")
    document = build.text_report(ContentSequence=[build.nested(above, 3)])
    path = write_file(tmp_path / "document.dcm", document)
    with path.open("rb") as file:
        elements = elements_of(file, READ)
    report = report_of_elements(read_header(path), elements, "1")
    assert [each.text for each in report.sections] == ["Disc herniation.\nNOT present: ruled out."]


def test_accession_numbers_of_the_requests_are_taken(tmp_path: Path) -> None:
    requests = []
    for number, issuer in (("A1", ""), ("A2", "RIS"), ("A2", "RIS"), ("A3", "")):
        request = Dataset()
        request.AccessionNumber = number
        if issuer:
            request.IssuerOfAccessionNumberSequence = [Dataset()]
            request.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID = issuer
        requests.append(request)
    document = build.text_report(AccessionNumber="A1", ReferencedRequestSequence=requests)
    path = write_file(tmp_path / "document.dcm", document)
    with path.open("rb") as file:
        elements = elements_of(file, READ)
    report = report_of_elements(read_header(path), elements, "1")
    assert (report.accession_number, report.issuer_of_accession_number) == ("A1", "")
    assert report.further_accessions == (("A2", "RIS"), ("A3", ""))
    message = message_of(report, "SR|PACS").decode()
    assert [each.split("|")[18] for each in message.split("\r") if each.startswith("OBR")] == [
        "A1",
        "A2^RIS",
        "A3",
    ]


@pytest.mark.parametrize("name", ["structured_report.dcm", "sample-sr.dcm"])
def test_real_measurement_reports_are_no_reports_of_a_radiologist(name: str) -> None:
    path = SHARED / "data" / "dicom_odd" / "dcmjs" / name
    if not path.exists():
        pytest.skip("needs shared data")
    with path.open("rb") as file:
        document = elements_of(file, READ)
    found = classify(read_header(path), document, signs_of(document), Own())
    assert found.kind is Kind.OTHER


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
def test_a_rejection_note_names_what_it_rejects(tmp_path: Path, title: str) -> None:
    rejected = [mr_image(instance=number) for number in (1, 2)]
    found = verdict(tmp_path, build.rejection_note(rejected, title))
    study = uid("study", "S1")
    assert (found.kind, found.title) == (Kind.REJECTION, f"{title} DCM")
    assert found.rejected == tuple((study, str(each.SOPInstanceUID)) for each in rejected)
    assert doubt(found, study) == beyond(found, study) == ""


def test_a_rejection_note_of_highdicom_is_read(tmp_path: Path) -> None:
    image = mr_image()
    written = BytesIO()
    note = highdicom.ko.KeyObjectSelectionDocument(
        evidence=[dcmread(write_file(tmp_path / "image.dcm", image))],
        content=highdicom.ko.KeyObjectSelection(
            document_title=codes.DCM.RejectedForQualityReasons,
            referenced_objects=[dcmread(tmp_path / "image.dcm")],
        ),
        series_instance_uid="2.25.1",
        series_number=1,
        sop_instance_uid="2.25.2",
        instance_number=1,
        manufacturer="Archive",
        institution_name="Hospital",
    )
    note.save_as(written, enforce_file_format=True)
    found = verdict(tmp_path, note)
    assert found.kind is Kind.REJECTION
    assert found.rejected == ((str(image.StudyInstanceUID), str(image.SOPInstanceUID)),)


def test_what_a_note_names_in_its_own_study_is_honoured_whatever_else_it_names() -> None:
    inside, outside = ("1.2", "1.2.3"), ("1.9", "1.9.3")

    def note(*rejected: tuple[str, str]) -> Verdict:
        return Verdict(Kind.REJECTION, "", rejected=rejected)

    assert not doubt(note(inside), "1.2")
    assert not beyond(note(inside), "1.2")
    assert not doubt(note(inside, outside), "1.2")
    assert "1 other studies" in beyond(note(inside, outside), "1.2")
    assert "other studies" in doubt(note(outside), "1.2")
    assert "which instances" in doubt(note(), "1.2")
    assert "which instances" in doubt(note(("1.2", "")), "1.2")
    many = [("1.2", str(number)) for number in range(MOST_REJECTED + 1)]
    assert str(MOST_REJECTED) in doubt(note(*many), "1.2")
