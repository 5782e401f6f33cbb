"""Rows of text tables: strict, streamed, and each refusal with its line."""

from pathlib import Path

import pytest

from dicom_node.history import tables
from dicom_node.history.tables import RefusedRow, Row, UnreadableTable, read_text_table


def read(tmp_path: Path, content: bytes, **options: object) -> list[Row | RefusedRow]:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    return list(read_text_table(path, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(tmp_path: Path, mark: str) -> None:
    content = f"a{mark}b{mark}c\n1{mark}2, 3{mark}\n".replace("2, 3", "23").encode()
    assert read(tmp_path, content) == [Row(2, {"a": "1", "b": "23", "c": ""})]


@pytest.mark.parametrize("codec", ["utf_8", "utf_8_sig", "utf_16", "cp1252", "iso8859_15"])
def test_text_is_read_in_its_encoding(tmp_path: Path, codec: str) -> None:
    marked = codec in ("utf_8", "utf_8_sig", "utf_16")
    found = read(tmp_path, "a;b\nMüller;é\n".encode(codec), encoding="" if marked else codec)
    assert found == [Row(2, {"a": "Müller", "b": "é"})]


def test_a_row_in_another_encoding_is_refused_and_the_others_stay(tmp_path: Path) -> None:
    found = read(tmp_path, "a;b\n1;ok\n2;M\xfcller\n3;ok\n".encode("latin-1"))
    assert found[1] == RefusedRow(3, "bytes that are not utf_8")
    assert [each.line for each in found] == [2, 3, 4]


def test_text_of_several_lines_counts_them(tmp_path: Path) -> None:
    found = read(tmp_path, b'a;b\r\n1;"one\r\ntwo ""quoted"""\r\n2;x\r\n')
    assert found == [
        Row(2, {"a": "1", "b": 'one\r\ntwo "quoted"'}),
        Row(4, {"a": "2", "b": "x"}),
    ]


def test_a_stray_quote_refuses_what_it_swallowed_and_nothing_after(tmp_path: Path) -> None:
    found = read(tmp_path, b'a;b\n1;"open\n2;x\n3;"close\n4;fine\n')
    assert found[0] == RefusedRow(2, "lines 2 to 4: a quote stands where none can stand")
    assert found[1] == Row(5, {"a": "4", "b": "fine"})


def test_a_quote_that_is_never_closed_is_named(tmp_path: Path) -> None:
    found = read(tmp_path, b'a;b\n0;x\n1;"open\n2;x\n')
    assert isinstance(found[1], RefusedRow)
    assert found[1].reason.startswith("lines 3 to 4")


def test_a_row_without_end_ends_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LONGEST_ROW", 1000)
    with pytest.raises(UnreadableTable, match="is a quote not closed"):
        read(tmp_path, b'a;b\n1;"' + b"x\n" * 1000)
    with pytest.raises(UnreadableTable, match="has no end"):
        read(tmp_path, b"a;b\n" + b"x" * 5000)


def test_cells_that_do_not_match_the_header_refuse_the_row(tmp_path: Path) -> None:
    found = read(tmp_path, b"a;b\n1\n1;2;3\n1;2;;\n\n;\n5;6\n")
    assert [(each.line, isinstance(each, Row)) for each in found] == [
        (2, False),
        (3, False),
        (4, True),
        (7, True),
    ]


def test_nuls_are_carried_to_the_row_that_refuses_them(tmp_path: Path) -> None:
    (found,) = read(tmp_path, b"a;b\n1;x\0y\n")
    assert found == Row(2, {"a": "1", "b": "x\0y"})


def test_bad_headers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableTable, match="same name"):
        read(tmp_path, b"a;a\n1;2\n")
    with pytest.raises(UnreadableTable, match="empty"):
        read(tmp_path, b";\n1;2\n")
    with pytest.raises(UnreadableTable, match="header holds bytes"):
        read(tmp_path, b"a;\xff\n1;2\n")


def test_the_header_may_stand_lower(tmp_path: Path) -> None:
    found = read(tmp_path, b"export of 2019\na;b\n1;2\n", header_row=2)
    assert found == [Row(3, {"a": "1", "b": "2"})]


def test_a_file_that_is_not_its_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableTable):
        read(tmp_path, b"\xff\xfea\0;\0b\0\n\0\x00\xd8\x01")
