"""The document as it must be, item by item, and the same findings read back."""

import dataclasses
import datetime as dt
import io
import string

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.errors import NeedsReview, Permanent
from dicom_node.sr.building import build_structured_report, encode
from dicom_node.sr.content import (
    STATE_CODES,
    WARNING,
    Algorithm,
    ConceptCode,
    Finding,
    FindingState,
    deterministic_uid,
    series_description,
    summarise,
)
from dicom_node.sr.identity import identity_conflicts
from dicom_node.sr.reading import read_findings, read_report
from tests import sr_builders as given_study


def build(evidence=None, findings=None, **changes):
    arguments = {
        "evidence": given_study.images() if evidence is None else evidence,
        "findings": given_study.findings() if findings is None else findings,
        "algorithm": given_study.ALGORITHM,
        "device": given_study.DEVICE,
        "procedure": given_study.MRI,
        "content_datetime": given_study.ANALYSED_AT,
        "uid_parts": ("weights", "study"),
    }
    return build_structured_report(**(arguments | changes))


@pytest.fixture(scope="module")
def document():
    return pydicom.dcmread(io.BytesIO(encode(build())))


ONE = given_study.findings()[:1]


@pytest.fixture(scope="module")
def one():
    return build(findings=ONE)


def names(item):
    return [child.ConceptNameCodeSequence[0].CodeMeaning for child in item.ContentSequence]


def containers(item):
    if item.ValueType == "CONTAINER":
        yield item
    for child in item.get("ContentSequence", ()):
        yield from containers(child)


def test_root_order_and_title(document):
    title = document.ConceptNameCodeSequence[0]
    assert document.SOPClassUID == Comprehensive3DSRStorage
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("AIRESULT", "99RADLOOP")
    assert title.CodeMeaning == "AI RESULT - RESEARCH USE ONLY"
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert names(document) == [
        "Comment",
        "Summary",
        "Language of Content Item and Descendants",
        "Observer Type",
        "Device Observer UID",
        "Device Observer Name",
        "Device Observer Manufacturer",
        "Device Observer Model Name",
        "Procedure reported",
        "Imaging Measurements",
    ]
    assert document.ContentSequence[0].TextValue == WARNING
    assert document.ContentSequence[1].TextValue == summarise(given_study.findings())


def test_every_container_is_separate(document):
    found = list(containers(document))
    assert len(found) == 2 + len(given_study.findings())
    assert {container.ContinuityOfContent for container in found} == {"SEPARATE"}


def test_private_schemes_are_declared(document):
    declared = [i.CodingSchemeDesignator for i in document.CodingSchemeIdentificationSequence]
    assert declared == ["99RADLOOP"]
    elsewhere = dataclasses.replace(given_study.MRI, scheme="99SITE")
    schemes = build(procedure=elsewhere, findings=ONE).CodingSchemeIdentificationSequence
    assert [item.CodingSchemeDesignator for item in schemes] == ["99RADLOOP", "99SITE"]


def test_flags_and_equipment(document):
    assert document.PreliminaryFlag == "PRELIMINARY"
    assert document.CompletionFlag == "COMPLETE"
    assert document.VerificationFlag == "UNVERIFIED"
    assert "ReferencedPerformedProcedureStepSequence" in document
    assert "PerformedProcedureCodeSequence" in document
    (equipment,) = document.ContributingEquipmentSequence
    assert equipment.DeviceUID == given_study.ALGORITHM.device_uid
    assert equipment.ManufacturerModelName == given_study.ALGORITHM.name
    assert equipment.SoftwareVersions == given_study.ALGORITHM.version
    assert document.InstitutionName == "Test Hospital"


def test_group_of_an_evaluated_site(document):
    group = document.ContentSequence[-1].ContentSequence[0]
    assert names(group) == [
        "Tracking Identifier",
        "Tracking Unique Identifier",
        "Finding",
        "Finding Site",
        "Probability",
        "Disc narrowing",
    ]
    measured = group.ContentSequence[4]
    value = measured.MeasuredValueSequence[0]
    assert str(value.NumericValue) == "91.23"
    assert value.MeasurementUnitsCodeSequence[0].CodeValue == "%"
    texts = [item.get("TextValue") for item in measured.ContentSequence]
    assert texts[:4] == ["disc-network", "3", "radloop", "threshold=0.43"]
    assert f"weights_digest={'ab' * 32}" in texts
    assert group.ContentSequence[5].ConceptCodeSequence[0].CodeValue == "52101004"


def test_a_site_that_was_not_evaluated_is_not_absent(document):
    group = document.ContentSequence[-1].ContentSequence[2]
    assert "Probability" not in names(group)
    state = next(i for i in group.ContentSequence if i.ValueType == "CODE" and names_of(i))
    assert state.ConceptCodeSequence[0].CodeMeaning == "Not Evaluated"
    assert group.ContentSequence[-1].TextValue == "disc was not found"


def names_of(item):
    return item.ConceptNameCodeSequence[0].CodeValue == "NARROWING"


def test_every_analysed_image_is_evidence(document):
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    listed = {
        (series.SeriesInstanceUID, item.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert listed == {(i.SeriesInstanceUID, i.SOPInstanceUID) for i in given_study.images()}
    assert study.StudyInstanceUID == "1.2.3.4"
    assert "ImageLibrary" not in str(document)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Zoë"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_identity_survives_another_character_set(charset, name):
    images = given_study.images(
        2, SpecificCharacterSet=charset, PatientName=name, StudyDescription="Wirbelsäule"[:5]
    )
    stored = []
    for image in images:
        buffer = io.BytesIO()
        image.save_as(buffer, enforce_file_format=True)
        buffer.seek(0)
        stored.append(pydicom.dcmread(buffer))
    document = pydicom.dcmread(io.BytesIO(encode(build(evidence=stored, findings=ONE))))
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert str(document.PatientName) == name
    assert identity_conflicts(document, stored[0]) == ()
    assert document.IssuerOfPatientID == "HOSPITAL"
    assert document.AccessionNumber == "A0001"
    assert str(document.ReferringPhysicianName) == "Ref^Doc"


def test_text_outside_latin_1_is_kept():
    finding = dataclasses.replace(given_study.findings()[3], reason="близко к порогу ≈")
    assert read_findings(pydicom.dcmread(io.BytesIO(encode(build(findings=[finding])))))[0] == (
        finding
    )


def test_absent_attributes_stay_empty():
    images = given_study.images(2)
    for image in images:
        del image.PatientBirthDate, image.ReferringPhysicianName, image.AccessionNumber
    document = build(evidence=images, findings=ONE)
    for keyword in ("PatientBirthDate", "ReferringPhysicianName", "AccessionNumber"):
        assert not document[keyword].value


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyInstanceUID", "1.2.3.5"),
        ("PatientID", "P0002"),
        ("IssuerOfPatientID", "ELSEWHERE"),
        ("PatientBirthDate", "19700102"),
        ("PatientSex", "M"),
        ("AccessionNumber", "A0002"),
    ],
)
def test_evidence_of_two_patients_or_studies_needs_review(keyword, value):
    images = given_study.images(3)
    setattr(images[2], keyword, value)
    with pytest.raises(NeedsReview, match=keyword) as caught:
        build(evidence=images)
    assert value not in str(caught.value)


def test_no_evidence_and_no_findings_are_refused():
    with pytest.raises(Permanent, match="images"):
        build(evidence=[])
    with pytest.raises(Permanent, match="findings"):
        build(findings=[])
    with pytest.raises(Permanent, match="one condition"):
        build(findings=[given_study.findings()[0]] * 2)
    images = given_study.images(1)
    del images[0].SOPInstanceUID
    with pytest.raises(Permanent, match="SOPInstanceUID"):
        build(evidence=images)


def test_a_meaning_too_long_for_dicom_is_refused():
    finding = dataclasses.replace(
        given_study.findings()[0], condition=ConceptCode("X", "99RADLOOP", "m" * 65)
    )
    with pytest.raises(Permanent, match="cannot be written"):
        build(findings=[finding])


@pytest.mark.parametrize(
    "changes",
    [
        {"probability": 1.01},
        {"probability": float("nan")},
        {"threshold": -0.1},
        {"state": "perhaps"},
        {"state": "not evaluated"},
        {"state": "not evaluated", "probability": None},
        {"site_id": ""},
        {"site_id": "a @ b"},
    ],
)
def test_impossible_findings_are_refused(changes):
    with pytest.raises(Permanent):
        dataclasses.replace(given_study.findings()[0], **changes)


def test_the_same_input_gives_the_same_bytes():
    shuffled = list(reversed(given_study.images()))
    one = build(findings=ONE)
    assert encode(one) == encode(build(evidence=shuffled, findings=ONE))
    tomorrow = given_study.ANALYSED_AT + dt.timedelta(days=1)
    later = build(findings=ONE, content_datetime=tomorrow)
    assert later.SOPInstanceUID == one.SOPInstanceUID
    assert build(findings=given_study.findings()[1:2]).SOPInstanceUID != one.SOPInstanceUID


@pytest.mark.parametrize(
    "changes",
    [
        {"uid_parts": ("weights", "another study digest")},
        {"device": dataclasses.replace(given_study.DEVICE, uid="2.25.1")},
        {"algorithm": Algorithm("disc-network", "3", "radloop", "2.25.1", {})},
        {"title": ConceptCode("126000", "DCM", "Imaging Measurement Report")},
        {"evidence": given_study.images(study="1.2.3.9")},
    ],
)
def test_another_content_is_another_document_in_another_series(one, changes):
    first, second = one, build(**({"findings": ONE} | changes))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID


def test_uids_are_valid_and_distinct(document):
    tracking = [
        item.ContentSequence[1].UID for item in document.ContentSequence[-1].ContentSequence
    ]
    uids = {document.SOPInstanceUID, document.SeriesInstanceUID, *tracking}
    assert len(uids) == 2 + len(given_study.findings())
    assert all(pydicom.uid.UID(uid).is_valid and len(uid) <= 64 for uid in uids)
    assert deterministic_uid("ab", "c") != deterministic_uid("a", "bc")


@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [
        ("+0200", "20261102", "113000.000000"),
        ("-1000", "20261101", "233000.000000"),
        ("nonsense", "20261102", "093000.000000"),
    ],
)
def test_times_follow_the_zone_of_the_images(offset, date, time):
    document = build(evidence=given_study.images(1, TimezoneOffsetFromUTC=offset), findings=ONE)
    assert (document.ContentDate, document.ContentTime) == (date, time)
    assert document.get("TimezoneOffsetFromUTC") == (offset if offset[0] in "+-" else None)


def test_state_codes_stand_in_the_dictionary():
    for state, keyword in (
        (FindingState.PRESENT, "Present"),
        (FindingState.ABSENT, "Absent"),
        (FindingState.UNDETERMINED, "Undetermined"),
        (FindingState.NOT_EVALUATED, "NotEvaluated"),
    ):
        known = getattr(codes.SCT, keyword)
        assert (known.value, known.meaning) == (
            STATE_CODES[state].value,
            STATE_CODES[state].meaning,
        )


def test_series_description_says_it_in_twenty_characters():
    assert series_description(given_study.findings()) == "AI RESEARCH: 1 of 4"
    many = [
        dataclasses.replace(given_study.findings()[0], site_id=str(number)) for number in range(250)
    ]
    assert series_description(many) == "AI RESEARCH: 250/250"
    assert len(series_description(many * 400)) <= 20
    assert series_description([given_study.findings()[2]]) == "AI RESEARCH: no data"


def test_summary_in_plain_words():
    assert summarise(given_study.findings()) == (
        "Above threshold: Disc narrowing at L4-L5. "
        "Undetermined: Spinal canal stenosis at L4-L5. Below threshold: 2 of 4. "
        "Not evaluated: 1 of 5 (disc was not found: Disc narrowing at L3-L4)."
    )
    assert summarise([given_study.findings()[1]]) == (
        "Nothing above threshold. Below threshold: 1 of 1."
    )


def test_read_report_gives_what_was_written(document):
    report = read_report(document)
    assert report.algorithm == given_study.ALGORITHM
    assert list(report.findings) == given_study.findings()
    assert report.procedure == given_study.MRI
    assert report.observer["uid"] == given_study.DEVICE.uid
    assert report.evidence == {"1.2.3.4.1": 1, "1.2.3.4.2": 2}


@pytest.mark.parametrize("number", [0, 2, -1])
def test_an_incomplete_group_is_an_error_and_not_a_blank(number):
    document = build(findings=ONE)
    del document.ContentSequence[-1].ContentSequence[0].ContentSequence[number]
    with pytest.raises(Permanent):
        read_findings(document)


def test_what_is_no_report_is_refused():
    with pytest.raises(Permanent):
        read_report(given_study.images(1)[0])
    with pytest.raises(Permanent):
        read_findings(given_study.images(1)[0])


words = st.text(string.ascii_letters + "äöü ß/", min_size=1, max_size=30).filter(
    lambda text: text == text.strip()
)
conditions = st.builds(
    ConceptCode,
    st.text(string.ascii_uppercase, min_size=1, max_size=16).map(lambda value: "C" + value[1:]),
    st.sampled_from(["99RADLOOP", "99SITE"]),
    words,
)
fractions = st.floats(0, 1).map(lambda value: round(value, 12))


@st.composite
def finding_lists(draw):
    result = []
    for number in range(draw(st.integers(1, 3))):
        state = draw(st.sampled_from(list(FindingState)))
        missing = state is FindingState.NOT_EVALUATED
        result.append(
            Finding(
                condition=draw(conditions),
                site=draw(st.none() | st.sampled_from(list(given_study.DISCS.values()))),
                site_id=f"site {number}",
                probability=None if missing else draw(st.none() | fractions),
                threshold=draw(st.none() | fractions),
                state=state,
                reason=draw(words if missing else st.just("") | words),
            )
        )
    return result


@settings(max_examples=8, deadline=None)
@given(finding_lists())
def test_findings_survive_writing_and_reading(findings):
    document = pydicom.dcmread(io.BytesIO(encode(build(findings=findings))))
    assert list(read_findings(document)) == findings
