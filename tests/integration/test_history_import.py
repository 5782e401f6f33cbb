"""Old reports from files: filed, linked by the normal rules, resumed where they were cut off."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from pydicom.dataset import Dataset
from sqlmodel import Session, select

from dicom_node.errors import InvalidSettings
from dicom_node.feeds.acceptance import decisions
from dicom_node.history.mapping import load_mapping, mapping_of
from dicom_node.history.models import ImportedFile
from dicom_node.models import Link, Message, Report
from plugin.context import Context, open_context
from plugin.errors import Permanent
from plugin.settings import Settings
from plugin.stages.history import import_reports, propose_mapping, try_import
from tests.builders import file_data_set
from tests.hl7_builders import oru, study

HEADER = ["MRN", "Accession", "Name", "DOB", "Sex", "Exam Date", "Status", "Findings", "Impression"]
MAPPING: dict[str, Any] = {
    "name": "old-ris",
    "issuer_of_patient_id": "HOSP",
    "issuer_of_accession_number": "SITE",
    "trusted_assumed_issuers": ["HOSP", "SITE"],
    "date_forms": ["YYYY-MM-DD"],
    "name_form": "family, given",
    "columns": {
        "patient_id": "MRN",
        "accession_number": "Accession",
        "patient_name": "Name",
        "birth_date": "DOB",
        "sex": "Sex",
        "study_date": "Exam Date",
        "status": "Status",
    },
    "text": [
        {"heading": "FINDINGS", "column": "Findings"},
        {"heading": "IMPRESSION", "column": "Impression"},
    ],
    "statuses": {"Final": "F", "Draft": "P"},
}


def values(number: int = 1, **changes: str) -> list[str]:
    row = {
        "MRN": f"P{number}",
        "Accession": f"A{number}",
        "Name": "Doe, Jane",
        "DOB": "1970-01-01",
        "Sex": "F",
        "Exam Date": "2026-02-28",
        "Status": "Final",
        "Findings": f"L4/L5 disc narrowed, case {number}.\nSecond line | with ^ marks.",
        "Impression": "Degenerative disc disease.",
    }
    return list((row | changes).values())


def table(path: Path, *rows: list[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows([HEADER, *rows])
    return path


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with open_context(Settings(data_folder=tmp_path / "data")) as context:
        with context.database.write() as session:
            session.add(study(accession_issuer_assumed=False))
        yield context


def run(context: Context, path: Path, **changes: Any) -> dict[str, Any]:
    arguments = {"path": str(path), "mapping": MAPPING, "by": "anna", "reason": "test"} | changes
    lines: list[str] = []
    return import_reports(context, arguments, lines.append)


def everything(session: Session) -> dict[str, Any]:
    return {
        table.__tablename__: [row.model_dump() for row in session.exec(select(table))]
        for table in (Message, Report, Link, ImportedFile)
    }


def test_rows_become_reports_that_link_by_the_normal_rules(
    context: Context, tmp_path: Path
) -> None:
    other = values(2, DOB="1980-05-05", MRN="P1", Accession="A1")
    file = table(tmp_path / "reports.csv", values(1), values(3, Status="Draft"), values(4))
    result = run(context, file)
    assert (result["accepted"], result["refused"]) == (3, 0)
    with context.database.read() as session:
        reports = {row.accession_number: row for row in session.exec(select(Report))}
        (link,) = session.exec(select(Link)).all()
        messages = session.exec(select(Message)).all()
        (decision,) = decisions(session)
    assert all(row.history for row in reports.values())
    assert {row.source for row in messages} == {"import"}
    assert {row.sender for row in messages} == {"IMPORT|old-ris"}
    assert {row.peer for row in messages} == {"reports.csv"}
    assert reports["A1"].text == (
        "FINDINGS:\nL4/L5 disc narrowed, case 1.\nSecond line | with ^ marks.\n"
        "IMPRESSION:\nDegenerative disc disease."
    )
    assert [each["kind"] for each in reports["A1"].sections] == ["findings", "impression"]
    assert reports["A3"].result_status == "P"
    assert (link.state, link.study_instance_uid, link.report_id) == (
        "confirmed",
        "1.2.3",
        reports["A1"].id,
    )
    assert (decision.decided_by, decision.sender) == ("anna", "IMPORT|old-ris")
    # The same study claimed by a row that contradicts it: no link of that row, and no confirmed one
    run(context, table(tmp_path / "more.csv", other))
    with context.database.read() as session:
        newest = session.exec(select(Report).where(Report.patient_birth_date == "19800505")).one()
        states = {row.report_id: row.state for row in session.exec(select(Link))}
    assert states.get(newest.id) != "confirmed"


def test_twice_changes_nothing_and_a_corrected_row_is_a_version(
    context: Context, tmp_path: Path
) -> None:
    file = table(tmp_path / "reports.csv", values(1), values(2), values(2))
    first = run(context, file)
    assert (first["accepted"], first["repeated"]) == (2, 1)
    with context.database.read() as session:
        before = everything(session)
    assert run(context, file)["files"][0]["imported_before"] is True
    copied = tmp_path / "copy.csv"
    copied.write_bytes(file.read_bytes())
    assert run(context, copied)["files"][0]["imported_before"] is True
    with context.database.read() as session:
        assert everything(session) == before
    longer = table(tmp_path / "longer.csv", values(1), values(2, Findings="Corrected."), values(3))
    again = run(context, longer)
    assert (again["accepted"], again["repeated"]) == (2, 1)
    with context.database.read() as session:
        versions = session.exec(select(Report).where(Report.accession_number == "A2")).all()
    assert sorted((row.version, row.is_current) for row in versions) == [(1, False), (2, True)]


def test_refused_rows_are_told_with_their_lines_and_without_values(
    context: Context, tmp_path: Path
) -> None:
    rows = [values(1), values(2, Sex="??secret"), values(3, DOB="1/1/70"), values(4, MRN="")]
    rows += [values(5)[:-1], values(6, Status="Signed?"), values(7)]
    result = run(context, table(tmp_path / "reports.csv", *rows))
    assert (result["accepted"], result["refused"]) == (2, 5)
    assert [each["line"] for each in result["refused_rows"]] == [4, 6, 8, 10, 12]
    assert "secret" not in json.dumps(result)
    with context.database.read() as session:
        (row,) = session.exec(select(ImportedFile)).all()
    assert (row.position, row.counts["refused"], len(row.refused)) == (7, 5, 5)
    assert row.finished_at is not None


def test_a_column_that_is_not_there_takes_nothing(context: Context, tmp_path: Path) -> None:
    mapping = MAPPING | {"columns": MAPPING["columns"] | {"sex": "Sexx"}}
    result = run(context, table(tmp_path / "reports.csv", values(1)), mapping=mapping)
    assert result["accepted"] == 0
    assert "lacks columns of the mapping: Sexx" in result["refused_rows"][0]["reason"]


def test_a_workbook_is_imported_like_its_table(context: Context, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (HEADER, values(1), values(2, Findings="=HYPERLINK()")):
        book.active.append(row)
    book.save(tmp_path / "reports.xlsx")
    result = run(context, tmp_path / "reports.xlsx")
    assert (result["accepted"], result["refused"]) == (1, 1)
    assert result["files"][0]["kind"] == "workbook"


def test_hl7_dumps_keep_their_senders_and_do_not_link_until_accepted(
    context: Context, tmp_path: Path
) -> None:
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "a.hl7").write_bytes(oru(control_id="1") + oru(control_id="2", filler="F2"))
    (folder / "b.log").write_bytes(b"\x0b" + oru(control_id="3", filler="F3") + b"\x1c\r")
    (folder / "noise.bin").write_bytes(b"\x00\x01")
    result = run(context, folder, mapping={"name": "dump"})
    assert (result["accepted"], result["refused"]) == (3, 1)
    assert result["senders_that_may_not_link_yet"] == ["RIS|HOSPITAL"]
    with context.database.read() as session:
        assert {row.history for row in session.exec(select(Report))} == {True}
        assert not [row for row in session.exec(select(Link)) if row.state == "confirmed"]
        assert not decisions(session)


def test_pdfs_are_named_by_a_table(context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    (folder / "2019").mkdir(parents=True)
    (folder / "2019" / "one.pdf").write_bytes(pdf("Disc herniation at L5."))
    (tmp_path / "secret.pdf").write_bytes(pdf("Not for you."))
    mapping = {
        "name": "scans",
        "default_status": "F",
        "columns": {"patient_id": "id", "accession_number": "acc", "document": "file"},
    }
    (folder / "index.csv").write_text(
        "id,acc,file\nP1,A1,2019/one.pdf\nP2,A2,../secret.pdf\nP3,A3,none.pdf\n", encoding="utf-8"
    )
    result = run(context, folder, mapping=mapping)
    assert (result["accepted"], result["refused"]) == (1, 2)
    with context.database.read() as session:
        (report,) = session.exec(select(Report)).all()
    assert report.text.strip() == "Disc herniation at L5."


def test_structured_reports_of_persons_are_reports_and_those_of_devices_are_not(
    context: Context, tmp_path: Path
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "report.dcm").write_bytes(sr("1.2.3.1", "F\xfcr L5: Prolaps."))
    (folder / "device.dcm").write_bytes(sr("1.2.3.2", "Something.", observer="121007"))
    (folder / "draft.dcm").write_bytes(sr("1.2.3.3", "Draft.", VerificationFlag="UNVERIFIED"))
    (folder / "later.dcm").write_bytes(sr("1.2.3.4", "Corrected.", replaces="1.2.3.1"))
    (folder / "broken.dcm").write_bytes(sr("1.2.3.5", "x")[:300])
    result = run(context, folder, mapping={"name": "documents"})
    assert (result["accepted"], result["refused"]) == (3, 2)
    reasons = {row["file"]: row["reason"] for row in result["refused_rows"]}
    assert "no person" in reasons["device.dcm"]
    with context.database.read() as session:
        reports = {row.text: row for row in session.exec(select(Report))}
        links = session.exec(select(Link).where(Link.state == "confirmed")).all()
    assert set(reports) == {
        "FINDINGS:\nF\xfcr L5: Prolaps.",
        "FINDINGS:\nDraft.",
        "FINDINGS:\nCorrected.",
    }
    statuses = {text: row.result_status for text, row in reports.items()}
    assert statuses["FINDINGS:\nDraft."] == "P"
    first, second = reports["FINDINGS:\nF\xfcr L5: Prolaps."], reports["FINDINGS:\nCorrected."]
    assert first.report_identity == second.report_identity
    assert second.is_current
    assert not first.is_current
    assert second.id in {link.report_id for link in links}


def test_a_document_replaces_none_of_another_study(context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "report.dcm").write_bytes(sr("1.2.3.1", "First."))
    (folder / "later.dcm").write_bytes(sr("1.2.3.4", "Other.", replaces="1.2.3.1", of_study="1.9"))
    assert run(context, folder, mapping={"name": "documents"})["accepted"] == 2
    with context.database.read() as session:
        reports = session.exec(select(Report)).all()
    assert len({row.report_identity for row in reports}) == 2
    assert all(row.is_current for row in reports)


def sr(
    uid: str,
    text: str,
    *,
    observer: str = "121006",
    replaces: str = "",
    of_study: str = "",
    **flags: str,
) -> bytes:
    """A Basic Text SR with a section of findings; the observer type is DCM 121006 or 121007."""
    document = Dataset()
    document.SpecificCharacterSet = "ISO_IR 100"
    document.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    document.SOPInstanceUID = uid
    document.StudyInstanceUID, document.SeriesInstanceUID = "1.2.3", "1.2.3.9"
    document.PatientID, document.IssuerOfPatientID = "P1", "HOSP"
    document.PatientName, document.PatientBirthDate = "Doe^Jane", "19700101"
    document.PatientSex, document.StudyDate = "F", "20260228"
    document.Modality, document.AccessionNumber = "SR", "A1"
    document.CompletionFlag, document.VerificationFlag = "COMPLETE", "VERIFIED"
    document.ContentDate = "20260302" if replaces else "20260301"
    document.ContentTime = "120000"
    for keyword, value in flags.items():
        setattr(document, keyword, value)
    document.ValueType, document.ConceptNameCodeSequence = "CONTAINER", [code("18748-4", "LN")]
    section = content_item("CONTAINER", code("121070", "DCM"))
    section.ContentSequence = [content_item("TEXT", code("121071", "DCM"), TextValue=text)]
    kind = content_item("CODE", code("121005", "DCM"))
    kind.ConceptCodeSequence = [code(observer, "DCM")]
    document.ContentSequence = [kind, section]
    if replaces:
        instance, series, before = Dataset(), Dataset(), Dataset()
        instance.ReferencedSOPInstanceUID = replaces
        series.ReferencedSOPSequence = [instance]
        before.ReferencedSeriesSequence = [series]
        if of_study:
            before.StudyInstanceUID = of_study
        document.PredecessorDocumentsSequence = [before]
    file = BytesIO()
    file_data_set(document).save_as(file, enforce_file_format=True)
    return file.getvalue()


def code(value: str, scheme: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, value
    return item


def content_item(kind: str, name: Dataset, **values: str) -> Dataset:
    item = Dataset()
    item.ValueType, item.ConceptNameCodeSequence = kind, [name]
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def pdf(text: str) -> bytes:
    """A PDF of one page, written by hand."""
    stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
        b"/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(content))
        content += b"%d 0 obj%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    start = len(content)
    return content + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
        % (count, table, count, start)
    )


KILLED = """
import os, signal, sys
from pathlib import Path
from plugin.context import open_context
from plugin.settings import Settings
from plugin.stages import history
from tests.integration.test_history_import import MAPPING
from dicom_node.history import importing

batches = int(sys.argv[3])
plain = importing.Import._commit
def commit(self, *arguments):
    global batches
    if batches == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    batches -= 1
    plain(self, *arguments)
importing.Import._commit = commit
small = importing._batches
importing._batches = lambda entries, most: small(entries, 4)
with open_context(Settings(data_folder=Path(sys.argv[1]))) as context:
    history.import_reports(
        context,
        {"path": sys.argv[2], "mapping": MAPPING, "by": "anna", "reason": "test"},
        lambda line: None,
    )
"""


def test_an_import_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    rows = [values(n, Sex="?" if n % 5 == 0 else "F") for n in range(1, 21)]
    file = table(tmp_path / "reports.csv", *rows)
    data = tmp_path / "data"
    paths = (os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2]))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(data), str(file), "1"],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    with open_context(Settings(data_folder=data)) as context:
        with context.database.read() as session:
            (row,) = session.exec(select(ImportedFile)).all()
            taken = len(session.exec(select(Message)).all())
        assert 0 < row.position < 20
        assert row.finished_at is None
        assert taken == row.counts["accepted"] == row.position - row.counts["refused"]
        result = run(context, file)
        assert (result["accepted"], result["refused"], result["repeated"]) == (16, 4, 0)
        with context.database.read() as session:
            assert Counter(r.version for r in session.exec(select(Report))) == {1: 16}


def test_a_withdrawn_import_is_not_accepted_again_by_itself(
    context: Context, tmp_path: Path
) -> None:
    from plugin.stages.feeds import withdraw_feed

    file = table(tmp_path / "reports.csv", values(1))
    run(context, file)
    withdraw_feed(context, "IMPORT|old-ris", lambda line: None, by="anna", reason="wrong issuer")
    with context.database.read() as session:
        assert not [row for row in session.exec(select(Link)) if row.state == "confirmed"]
    with pytest.raises(Permanent, match="withdrew"):
        run(context, table(tmp_path / "more.csv", values(2)))


def test_tables_need_a_mapping_and_something_must_be_there(
    context: Context, tmp_path: Path
) -> None:
    file = table(tmp_path / "reports.csv", values(1))
    with pytest.raises(Permanent, match="needs a mapping"):
        run(context, file, mapping={"name": "x"})
    (tmp_path / "empty").mkdir()
    (tmp_path / "pdfs").mkdir()
    (tmp_path / "pdfs" / "a.pdf").write_bytes(pdf("x"))
    from dicom_node.errors import Permanent as NodePermanent

    with pytest.raises(NodePermanent, match="no files"):
        run(context, tmp_path / "empty")
    with pytest.raises(NodePermanent, match="no such"):
        run(context, tmp_path / "nowhere")
    with pytest.raises(Permanent, match="nothing here"):
        run(context, tmp_path / "pdfs")


def test_a_dry_run_names_the_columns_that_are_not_used(context: Context, tmp_path: Path) -> None:
    rows = [[*HEADER, "Addendum", "Ward"], [*values(1), "", "7"], [*values(2), "More.", ""]]
    file = tmp_path / "reports.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    told = try_import(file, mapping_of(MAPPING, "test"), context.settings, lambda line: None)
    assert told["columns_not_used"] == [
        {"column": "Addendum", "rows": 1},
        {"column": "Ward", "rows": 1},
    ]


def test_a_dry_run_tells_what_an_import_does_and_changes_nothing(
    context: Context, tmp_path: Path
) -> None:
    rows = [values(1), values(2, Sex="Mrs"), values(3, Sex="Mrs"), values(4), values(4)]
    file = table(tmp_path / "reports.csv", *rows, values(5, Findings="", Impression=""))
    with context.database.read() as session:
        before = everything(session)
    told = try_import(file, mapping_of(MAPPING, "test"), context.settings, lambda line: None)
    assert (told["reports"], told["refused_rows"], told["versions_of_another_row"]) == (3, 3, 1)
    assert told["unmapped"] == [{"column": "sex", "value": "Mrs", "rows": 2}]
    assert [(each["line"], each["reason"]) for each in told["refused"]] == [
        (4, "sex: a value that the mapping does not know"),
        (6, "sex: a value that the mapping does not know"),
        (12, "text: there is no text"),
    ]
    shares = {each["use"]: each["share"] for each in told["columns"]}
    assert shares["patient_id"] == 1.0
    assert shares["text 1"] == pytest.approx(5 / 6)
    assert told["columns_not_used"] == []
    assert told["projected_links"]["confirmed"] == 1
    with context.database.read() as session:
        assert everything(session) == before
    assert run(context, file)["refused"] == told["refused_rows"]


def test_a_proposal_can_be_imported_once_it_is_decided(context: Context, tmp_path: Path) -> None:
    file = table(tmp_path / "reports.csv", *(values(n) for n in range(1, 9)))
    proposal = propose_mapping(file, "old")
    assert proposal is not None
    written = tmp_path / "mapping.toml"
    written.write_text(proposal.toml(), encoding="utf-8")
    mapping = load_mapping(written)
    result = run(context, file, mapping=mapping.model_dump(mode="json"))
    assert (result["accepted"], result["refused"]) == (8, 0)
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load_mapping(tmp_path / "none.toml")
