"""Workbooks: values as a person sees them, and nothing that a hostile file could do."""

import datetime as dt
import io
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from dicom_node.history import workbooks
from dicom_node.history.tables import RefusedRow, Row, UnreadableTable
from dicom_node.history.workbooks import read_workbook


def write(tmp_path: Path, *rows: list[Any], formats: dict[str, str] | None = None) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in rows:
        sheet.append(row)
    for place, form in (formats or {}).items():
        sheet[place].number_format = form
    path = tmp_path / "book.xlsx"
    book.save(path)
    return path


def rewrite(path: Path, name: str, content: bytes) -> Path:
    """Replace one part of the archive."""
    with zipfile.ZipFile(path) as archive:
        parts = {each.filename: archive.read(each) for each in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, old in (parts | {name: content}).items():
            archive.writestr(each, content if each == name else old)
    return path


def sheet_xml(rows: str) -> bytes:
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return f'<worksheet xmlns="{space}"><sheetData>{rows}</sheetData></worksheet>'.encode()


SHEET = "xl/worksheets/sheet1.xml"


def test_values_come_as_a_person_sees_them(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        ["id", "number", "date", "time", "flag", "text", "share"],
        [42, 7.0, dt.datetime(2020, 2, 1), dt.datetime(2020, 2, 1, 8, 5), True, "=no", 0.5],
        [None] * 7,
        [None, 1, None, None, None, None, None],
        formats={"A2": "00000000"},
    )
    rewrite(path, "xl/none.xml", b"")
    found = list(read_workbook(path))
    assert isinstance(found[0], RefusedRow)  # openpyxl writes "=no" as a formula
    path = write(
        tmp_path,
        ["id", "number", "date", "time", "flag", "text", "share"],
        [42, 7.0, dt.datetime(2020, 2, 1), dt.datetime(2020, 2, 1, 8, 5), True, "a\nb", 0.5],
        [None] * 7,
        [None, 1, None, None, None, None, None],
        formats={"A2": "00000000"},
    )
    first, second = read_workbook(path)
    assert first == Row(
        2,
        {
            "id": "00000042",
            "number": "7",
            "date": "2020-02-01",
            "time": "2020-02-01 08:05:00",
            "flag": "TRUE",
            "text": "a\nb",
            "share": "0.5",
        },
    )
    assert second.line == 4


def test_formulas_errors_and_rounded_numbers_refuse_their_row(tmp_path: Path) -> None:
    path = write(tmp_path, ["id", "x"], [1, "=A1"], [2, 12345678901234567], [3, "#REF!"], [4, 5])
    found = list(read_workbook(path))
    assert [each.line for each in found] == [2, 3, 4, 5]
    reasons = [each.reason for each in found if isinstance(each, RefusedRow)]
    assert [text.split(":")[0] for text in reasons] == [
        "a cell holds a formula, not a value",
        "a number of more than 15 digits",
        "a cell holds an error of Excel",
    ]


def test_a_sheet_is_chosen_by_name(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["a"])
    book.create_sheet("Reports").append(["b"])
    book["Reports"].append(["1"])
    book.save(tmp_path / "book.xlsx")
    assert list(read_workbook(tmp_path / "book.xlsx", sheet="Reports")) == [Row(2, {"b": "1"})]
    with pytest.raises(UnreadableTable, match="no sheet of this name"):
        list(read_workbook(tmp_path / "book.xlsx", sheet="Other"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a workbook" * 100])
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "book.xlsx"
    path.write_bytes(content)
    with pytest.raises(UnreadableTable):
        list(read_workbook(path))


def test_an_archive_without_a_workbook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "x")
    with pytest.raises(UnreadableTable, match="damaged"):
        list(read_workbook(path))


def test_zip_bombs_are_refused_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, ["a"], ["1"])
    monkeypatch.setattr(workbooks, "LARGE_PART", 2**20)
    rewrite(path, SHEET, b" " * (2 * 2**20))
    with pytest.raises(UnreadableTable, match="tighter than any text"):
        list(read_workbook(path))
    path = write(tmp_path, ["a"], ["1"])
    monkeypatch.setattr(workbooks, "LARGEST_STRINGS", 2**20)
    rewrite(path, "xl/sharedStrings.xml", b" " * (2 * 2**20))
    with pytest.raises(UnreadableTable, match="unpacks to more"):
        list(read_workbook(path))
    monkeypatch.setattr(workbooks, "MOST_PARTS", 3)
    with pytest.raises(UnreadableTable, match="more than 3 parts"):
        list(read_workbook(path))


def test_a_part_that_states_less_than_it_unpacks_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ["a"], ["1"])
    content = path.read_bytes()
    packed = io.BytesIO(content)
    with zipfile.ZipFile(packed) as archive:
        size = archive.getinfo(SHEET).file_size
    lying = content.replace(size.to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != content
    path.write_bytes(lying)
    with pytest.raises(UnreadableTable):
        list(read_workbook(path))


ENTITIES = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    b"<worksheet><sheetData><row><c><v>&b;</v></c></row></sheetData></worksheet>"
)


@pytest.mark.parametrize("part", [SHEET, "xl/workbook.xml", "xl/sharedStrings.xml"])
def test_entities_are_refused(tmp_path: Path, part: str) -> None:
    path = write(tmp_path, ["a"], ["1"])
    with zipfile.ZipFile(path) as archive:
        types = archive.read("[Content_Types].xml")
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    listed = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    if kind.encode() not in types:
        rewrite(path, "[Content_Types].xml", types.replace(b"</Types>", listed.encode()))
    rewrite(path, part, ENTITIES)
    with pytest.raises(UnreadableTable, match="damaged"):
        list(read_workbook(path))


def test_a_row_that_claims_a_place_far_below_ends_the_file(tmp_path: Path) -> None:
    rows = (
        '<row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c></row>'
        '<row r="99999999"><c r="A99999999"><v>1</v></c></row>'
    )
    path = rewrite(write(tmp_path, ["a"], ["1"]), SHEET, sheet_xml(rows))
    with pytest.raises(UnreadableTable, match="1048576 rows"):
        list(read_workbook(path))


def test_a_cell_that_claims_a_place_far_right_ends_the_file(tmp_path: Path) -> None:
    rows = (
        '<row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c></row>'
        '<row r="2"><c r="XFD2"><v>1</v></c></row>'
    )
    path = rewrite(write(tmp_path, ["a"], ["1"]), SHEET, sheet_xml(rows))
    with pytest.raises(UnreadableTable, match="columns"):
        list(read_workbook(path))
