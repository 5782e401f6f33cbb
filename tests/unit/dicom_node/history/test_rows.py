"""From a row to a report: what is not understood refuses the row, with a reason without values."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import InvalidSettings
from dicom_node.history.dates import COMMON_FORMS, check_form, read_time
from dicom_node.history.documents import read_document
from dicom_node.history.mapping import ImportMapping, load_mapping, mapping_of
from dicom_node.history.proposing import propose
from dicom_node.history.rows import HistoricReport, Section, UnusableRow, report_of
from dicom_node.history.tables import Row

COLUMNS = {
    "patient_id": "PatNr",
    "patient_name": "Name",
    "birth_date": "Born",
    "sex": "Sex",
    "accession_number": "Acc",
    "study_date": "Exam",
    "status": "Status",
    "modality": "Mod",
    "study_instance_uid": "UID",
    "document": "File",
}
VALUES: dict[str, Any] = {
    "name": "old-ris",
    "date_forms": ["DD.MM.YYYY hh:mm", "DD.MM.YYYY"],
    "name_form": "family, given",
    "columns": COLUMNS,
    "text": [
        {"heading": "FINDINGS", "column": "Findings"},
        {"heading": "IMPRESSION", "column": "Impression"},
    ],
    "statuses": {"signed": "F", "draft": "P", "cancelled": "X"},
    "sexes": {"male": "M"},
    "modalities": {"MRI": "MR"},
}
CELLS = {
    "PatNr": "0042",
    "Name": "Müller, Eva",
    "Born": "1.2.1970",
    "Sex": "f",
    "Acc": "A1",
    "Exam": "03.04.2019 08:15",
    "Status": "Signed",
    "Mod": "MRI",
    "UID": "",
    "File": "",
    "Findings": "Line one.\r\nLine two.",
    "Impression": "Normal.",
}


def mapping(**changes: Any) -> ImportMapping:
    return mapping_of(VALUES | changes, "test")


def row(**changes: str) -> Row:
    return Row(7, CELLS | changes)


def test_a_row_becomes_a_report() -> None:
    found = report_of(row(), mapping())
    assert found.number == found.accession_number == "A1"
    assert (found.patient_id, found.patient_name) == ("0042", "Müller^Eva")
    assert (found.birth_date, found.sex, found.modality) == ("19700201", "F", "MR")
    assert (found.study_date, found.status) == ("201904030815", "F")
    assert found.sections == (
        Section("FINDINGS", "Line one.\nLine two."),
        Section("IMPRESSION", "Normal."),
    )
    assert found.digest() == report_of(row(), mapping()).digest()
    assert found.digest() != report_of(row(Findings="Other."), mapping()).digest()


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"PatNr": " "}, "patient_id"),
        ({"PatNr": "NULL"}, "patient_id"),
        ({"PatNr": "1.23457E+15"}, "patient_id"),
        ({"PatNr": "1\x002"}, "patient_id"),
        ({"PatNr": "x" * 300}, "patient_id"),
        ({"Born": "1970-02-01"}, "birth_date"),
        ({"Born": "31.02.1970"}, "birth_date"),
        ({"Sex": "Mr Doe"}, "sex"),
        ({"Status": "who knows"}, "status"),
        ({"Status": ""}, "status"),
        ({"Mod": "x-ray"}, "modality"),
        ({"UID": "1.2.x"}, "study_instance_uid"),
        ({"Acc": ""}, "report_number"),
        ({"Findings": "", "Impression": " "}, "text"),
        ({"Findings": "a\x00b"}, "text"),
        ({"Findings": "a\x1b[31mb"}, "text"),
        ({"Findings": "lost \ufffd"}, "text"),
    ],
)
def test_what_is_not_understood_refuses_the_row(changes: dict[str, str], column: str) -> None:
    with pytest.raises(UnusableRow) as caught:
        report_of(row(**changes), mapping())
    assert caught.value.column == column
    for value in changes.values():
        assert not value.strip() or value not in str(caught.value)


def test_line_breaks_of_other_programs_are_line_breaks() -> None:
    found = report_of(row(Findings="a\x0bb\x0cc\rd\u2028e  \n\n"), mapping())
    assert found.sections[0].text == "a\nb\nc\nd\ne"


def test_a_cancelled_report_needs_no_text() -> None:
    found = report_of(row(Status="cancelled", Findings="", Impression=""), mapping())
    assert (found.status, found.sections) == ("X", ())


@pytest.mark.parametrize(
    ("form", "name", "expected"),
    [
        ("DICOM", "Doe^Jane", "Doe^Jane"),
        ("family, given", "Doe, Jane", "Doe^Jane"),
        ("family, given", "Doe", "Doe"),
        ("family given", "Doe Jane Ann", "Doe^Jane Ann"),
        ("given family", "Jane Ann Doe", "Doe^Jane Ann"),
        ("family, given", "Doe^X, Jane", "Doe X^Jane"),
    ],
)
def test_names_become_person_names(form: str, name: str, expected: str) -> None:
    assert report_of(row(Name=name), mapping(name_form=form)).patient_name == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a|b"},
        {"name": ""},
        {"unknown": 1},
        {"columns": {"patient_id": "x"}},
        {"columns": COLUMNS | {"status": ""}},
        {"columns": COLUMNS | {"family_name": "F"}},
        {"date_forms": ["DD.MM"]},
        {"statuses": {"x": "W"}},
        {"delimiter": '"'},
        {"encoding": "no codec"},
        {"test_patients": ["("]},
    ],
)
def test_a_mapping_that_cannot_work_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match="test: "):
        mapping(**changes)


def test_the_profile_assumes_issuers_and_is_history() -> None:
    profile = mapping(issuer_of_patient_id="HOSP").profile()
    assert profile.sender == "IMPORT|old-ris"
    assert (profile.issuer_of_patient_id, profile.history) == ("HOSP", True)


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("20200131", "YYYYMMDD", "20200131"),
        ("20200131081500", "YYYYMMDDhhmmss", "20200131081500"),
        ("1/2/2020 3:04", "MM/DD/YYYY hh:mm", "202001020304"),
        ("2020-02-30", "YYYY-MM-DD", None),
        ("0999-01-01", "YYYY-MM-DD", "09990101"),
        ("2020-01-01 24:00", "YYYY-MM-DD hh:mm", None),
        ("1.1.20", "DD.MM.YYYY", None),
        ("１.1.2020", "DD.MM.YYYY", None),
    ],
)
def test_dates_by_their_form(text: str, form: str, expected: str | None) -> None:
    assert read_time(text, (form,)) == expected


def test_a_date_that_fits_two_forms_with_different_outcomes_fits_none() -> None:
    forms = ("DD/MM/YYYY", "MM/DD/YYYY")
    assert read_time("01/02/2020", forms) is None
    assert read_time("13/02/2020", forms) == "20200213"
    assert read_time("02/02/2020", forms) == "20200202"


def test_the_common_forms_are_forms() -> None:
    for each in COMMON_FORMS:
        check_form(each)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.pdf",
        "/etc/passwd",
        "a/../../secret.pdf",
        "..\\secret.pdf",
        "link.pdf",
        "linked/report.pdf",
        "pipe.pdf",
        "none.pdf",
        "a\0b.pdf",
        "",
        ".",
        "text.pdf",
        "C:\\report.pdf",
        "/".join("abcdefgh"),
    ],
)
def test_a_document_is_never_read_from_elsewhere(tmp_path: Path, name: str) -> None:
    import os

    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.pdf").write_bytes(b"%PDF-1.4 secret")
    (folder / "sub" / "report.pdf").write_bytes(b"%PDF-1.4 fine")
    (folder / "text.pdf").write_bytes(b"no pdf")
    (folder / "link.pdf").symlink_to(tmp_path / "secret.pdf")
    (folder / "linked").symlink_to(folder / "sub")
    os.mkfifo(folder / "pipe.pdf")
    with pytest.raises(UnusableRow):
        read_document(folder, name)
    assert read_document(folder, "sub\\report.pdf") == b"%PDF-1.4 fine"


HEADER = ["MRN", "Accession Number", "Patient Name", "DOB", "Gender", "Exam Date", "Status"]
HEADER += ["Modality", "Findings", "Impression"]


def sample(*, day: int = 25, count: int = 20) -> list[Row]:
    rest = ["Final", "MRI", "Findings text.", "Impression text."]
    values = [
        ["P1", f"A{number}", "Doe, Jane", f"{day}/03/1970", "female", "2020-01-31 08:00", *rest]
        for number in range(count)
    ]
    return [Row(n, dict(zip(HEADER, each, strict=True))) for n, each in enumerate(values, start=2)]


def test_a_mapping_is_proposed_and_can_be_read_back(tmp_path: Path) -> None:
    proposal = propose("old", sample())
    file = tmp_path / "mapping.toml"
    file.write_text(proposal.toml(), encoding="utf-8")
    found = load_mapping(file)
    assert found == proposal.mapping()
    assert found.date_forms == ("DD/MM/YYYY", "YYYY-MM-DD hh:mm")
    assert found.name_form == "family, given"
    assert (found.statuses, found.sexes, found.modalities) == (
        {"Final": "F"},
        {"female": "F"},
        {"MRI": "MR"},
    )
    assert [each.heading for each in found.text] == ["FINDINGS", "IMPRESSION"]
    assert report_of(sample()[0], found).birth_date == "19700325"
    assert [each.split(":")[0] for each in proposal.questions] == [
        "issuer_of_patient_id",
        "issuer_of_accession_number",
    ]


def test_day_and_month_are_not_guessed() -> None:
    proposal = propose("old", sample(day=4))
    assert "DD/MM/YYYY" not in proposal.values["date_forms"]
    assert any("is it DD/MM/YYYY or MM/DD/YYYY?" in each for each in proposal.questions)


def test_hostile_headers_and_words_stay_quoted(tmp_path: Path) -> None:
    name = 'Sta"tus]\n[x] = 1 \x7f\x85'
    rows = [Row(2, {"MRN": "1", "Acc": "2", "Report": "x", "Status": 'a"\n]\x01= \U0001f600'})]
    proposal = propose("old", rows)
    proposal.values["columns"]["procedure"] = name
    proposal.values["statuses"] = {rows[0].cells["Status"]: "F"}
    file = tmp_path / "mapping.toml"
    file.write_text(proposal.toml(), encoding="utf-8")
    found = load_mapping(file)
    assert found.columns is not None
    assert found.columns.procedure == name
    assert found.statuses == {rows[0].cells["Status"]: "F"}


def test_what_was_imported_before_keeps_its_digest() -> None:
    plain = HistoricReport(number="1", status="F", patient_id="P1")
    assert plain.digest() == "7efdff73034f91eb02c09683bf10bf1cded0efea02de4049bfafe7d452846bc1"
    more = replace(plain, further_accessions=(("A2", ""),))
    assert more.digest() != plain.digest()
