from __future__ import annotations

import pytest

from dicom_node.linking.evidence import (
    Match,
    ReportEvidence,
    StudyEvidence,
    compare_birth_date,
    compare_body_part,
    compare_date,
    compare_modality,
    compare_patient,
    compare_sex,
    evidence_digest,
)
from dicom_node.linking.identifiers import Identifier
from dicom_node.linking.names import PLACEHOLDERS, alike, changed
from dicom_node.linking.vocabulary import FAMILY_OF, REGIONS_OF

EQUAL, UNEQUAL, UNKNOWN = Match.EQUAL, Match.UNEQUAL, Match.UNKNOWN


def _report(**said: object) -> ReportEvidence:
    return ReportEvidence(feed_accepted=True, **said)  # type: ignore[arg-type]


def _study(**said: object) -> StudyEvidence:
    return StudyEvidence(study_instance_uid="1.2.3", **said)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("DOE^JANE", "Doe^Jane", True),
        ("DOE^JANE", "DOE^JANE^MARY", True),
        ("DOE^JANE", "SMITH^JANE", True),
        ("DOE^J", "DOE^JANE", True),
        ("DOE^ALEX", "DOE^ALEXANDER", True),
        ("DOE^JANE", "JANE^DOE", True),
        ("DOE JANE", "DOE^JANE", True),
        ("SCHMIDT^ANNA", "SCHMIDTT^ANNA", True),
        ("SCHMIDT^ANNA", "SCHMITD^ANNA", True),
        ("MÜLLER^JÖRG", "Mueller^Joerg", True),
        ("ØSTERGÅRD^SØREN", "OSTERGARD^SOREN", True),
        ("ＤＯＥ＾ＪＡＮＥ", "DOE^JANE", True),
        ("O'NEILL^SEAN", "ONEILL^SEAN", True),
        ("DOE^BABY BOY", "DOE^JAMES", True),
        ("DOE^JANE", "ROE^RICHARD", False),
        ("DOE^JANE", "DOE^RICHARD", False),
        ("DOE^JANE", "DOE^JOAN", False),
        ("DOE^BABY BOY A", "DOE^BABY BOY B", False),
        ("山田^太郎", "山田^太郎", True),
        ("山田^太郎", "佐藤^花子", False),
        ("山田^太郎", "山田^次郎", False),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou", True),
        ("Yamada^Tarou=山田^太郎", "Yamada^Tarou=山田^次郎", False),
        ("ИВАНОВ^ИВАН", "Иванов^Иван", True),
        ("ИВАНОВ^ИВАН", "Петров^Пётр", False),
        ("ИВАНОВ^ИВАН", "IVANOV^IVAN", None),
        ("김^민준", "김^민준", True),
        ("", "DOE^JANE", None),
        ("UNKNOWN^UNKNOWN", "DOE^JANE", None),
        ("D^J", "ROE^RICHARD", None),
        ("123", "DOE", None),
    ],
)
def test_names(one: str, other: str, expected: bool | None) -> None:
    assert alike(one, other) is expected
    assert alike(other, one) is expected


def test_placeholders_are_written_as_words_are_compared() -> None:
    assert all(word == word.casefold() for word in PLACEHOLDERS)


def test_a_name_that_only_looks_different_has_not_changed() -> None:
    assert not changed("DOE^JANE", "Doe^Jané")
    assert not changed("", "DOE^JANE")
    assert changed("DOE^JANE", "DOE^JOAN")


@pytest.mark.parametrize(
    ("said", "found", "expected"),
    [
        ("MR", {"MR"}, EQUAL),
        ("mr ", {"MR", "SR"}, EQUAL),
        ("MR", {"CT"}, UNEQUAL),
        ("CR", {"DX"}, EQUAL),
        ("CT", {"PT", "CT"}, EQUAL),
        ("CT", {"SR", "PR"}, UNKNOWN),
        ("RAD", {"CT"}, UNKNOWN),
        ("", {"CT"}, UNKNOWN),
        ("CT", set(), UNKNOWN),
    ],
)
def test_modalities(said: str, found: set[str], expected: Match) -> None:
    assert compare_modality(_report(modality=said), _study(modalities=frozenset(found))) is expected


def test_every_modality_stands_in_one_family() -> None:
    assert all(name in line.split() for name, line in FAMILY_OF.items())


@pytest.mark.parametrize(
    ("said", "found", "expected"),
    [
        ("LSPINE", {"LSPINE"}, EQUAL),
        ("Lumbar spine", {"LSPINE"}, EQUAL),
        ("L-SPINE", {"SPINE"}, EQUAL),
        ("LSPINE", {"ABDOMEN"}, EQUAL),
        ("LSPINE", {"HEAD"}, UNEQUAL),
        ("cervical spine", {"LSPINE"}, UNEQUAL),
        ("KNEE LEFT", {"KNEE"}, EQUAL),
        ("KNEE", {"BRAIN", "CHEST"}, UNEQUAL),
        ("KNEE", {"BRAIN", "ROOM 3"}, UNKNOWN),
        ("KNEE", {"KNEE", "ROOM 3"}, EQUAL),
        ("HEAD", {"WHOLEBODY"}, EQUAL),
        ("ROOM 3", {"HEAD"}, UNKNOWN),
        ("", {"HEAD"}, UNKNOWN),
        ("HEAD", {""}, UNKNOWN),
    ],
)
def test_body_parts(said: str, found: set[str], expected: Match) -> None:
    report, study = _report(body_part=said), _study(body_parts=frozenset(found))
    assert compare_body_part(report, study) is expected


def test_every_body_part_lies_somewhere() -> None:
    assert all(REGIONS_OF.values())


@pytest.mark.parametrize(
    ("zone", "skew", "date", "expected"),
    [
        (True, 10.0, "20260228", EQUAL),
        (True, -300.0, "20260228", EQUAL),
        (True, 10.0, "20260301", EQUAL),
        (False, 10.0, "20260228", UNKNOWN),
        (True, 301.0, "20260228", UNKNOWN),
        (True, None, "20260228", UNKNOWN),
        (True, 10.0, "20260302", UNEQUAL),
        (False, None, "20260302", UNEQUAL),
        (False, 999.0, "20260302", UNEQUAL),
        (True, 10.0, "20260230", UNKNOWN),
        (True, 10.0, "2026", UNKNOWN),
        (True, 10.0, "", UNKNOWN),
    ],
)
def test_r10_an_unsound_clock_confirms_nothing_and_widens_nothing(
    zone: bool, skew: float | None, date: str, expected: Match
) -> None:
    report = _report(
        observation_date="20260228101500+0100", zone_known=zone, clock_skew_seconds=skew
    )
    assert compare_date(report, _study(study_date=date), 1, 300.0) is expected


P1, P2 = Identifier("P1", "HOSP"), Identifier("P2", "HOSP")


@pytest.mark.parametrize(
    ("said", "found", "expected"),
    [
        ({P1}, P1, EQUAL),
        ({P1, Identifier("77", "NATION")}, P1, EQUAL),
        ({P2}, P1, UNEQUAL),
        ({P1, P2}, P1, UNKNOWN),
        ({P1, P2}, Identifier("P3", "HOSP"), UNEQUAL),
        ({Identifier("P1", "OTHER")}, P1, UNKNOWN),
        ({Identifier("P1")}, P1, UNKNOWN),
        ({Identifier("P1")}, Identifier("P1"), UNKNOWN),
        ({Identifier("P1", "HOSP", True)}, P1, UNKNOWN),
        ({Identifier("P1", "HOSP", True)}, Identifier("P1", "HOSP", True), EQUAL),
        ({Identifier("", "HOSP")}, Identifier("", "HOSP"), UNKNOWN),
        (set(), P1, UNKNOWN),
    ],
)
def test_r1_patients_are_compared_within_one_issuer(
    said: set[Identifier], found: Identifier, expected: Match
) -> None:
    assert compare_patient(_report(patients=frozenset(said)), _study(patient=found)) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("19700101", "19700101", EQUAL),
        ("19700101", "1970", EQUAL),
        ("19700101", "197001", EQUAL),
        ("19700101", "19700110", UNEQUAL),
        ("19700101", "1971", UNEQUAL),
        ("19700101", "", UNKNOWN),
        ("19700101", "197", UNKNOWN),
        ("1970-01-01", "19700101", UNKNOWN),
        ("１９７００１０１", "19700101", UNKNOWN),
    ],
)
def test_birth_dates(one: str, other: str, expected: Match) -> None:
    assert compare_birth_date(_report(birth_date=one), _study(birth_date=other)) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("F", "f ", EQUAL), ("F", "M", UNEQUAL), ("F", "O", UNKNOWN), ("", "F", UNKNOWN)],
)
def test_sexes(one: str, other: str, expected: Match) -> None:
    assert compare_sex(_report(sex=one), _study(sex=other)) is expected


def test_the_digest_of_what_was_seen_changes_with_every_value_but_not_with_the_clock() -> None:
    report, study = _report(patients=frozenset({P1, P2})), _study(patient=P1)
    digest = evidence_digest(report, study)
    assert evidence_digest(_report(patients=frozenset({P2, P1})), study) == digest
    later = ReportEvidence(
        feed_accepted=False, patients=report.patients, clock_skew_seconds=9.0, zone_known=True
    )
    assert evidence_digest(later, study) == digest
    assert evidence_digest(_report(patients=frozenset({P1})), study) != digest
    assert evidence_digest(report, _study(patient=P1, study_date="20260101")) != digest
