"""Files of reports: what is read, and what is refused before a word of it is labelled."""

from pathlib import Path

import pytest

from labeling.report_file import InvalidReportFile, read_reports


def read(folder: Path, content: str) -> list[tuple[str, str]]:
    path = folder / "reports.csv"
    path.write_text(content, encoding="utf-8", newline="")
    return read_reports(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("id,report\n1,Stenosis at L4, not at L5.\n", "line 2: 2 columns are expected"),
        ("id,report\n1,Fine.\n2\n", "line 3: 2 columns are expected"),
        ("id,site,report\n1,a,Fine.,more\n", "line 2: 3 columns are expected"),
        ("id,report,report\n1,one,two\n", "column 'report' stands twice"),
        ("id,id,report\n1,2,one\n", "column 'id' stands twice"),
        ("", "is empty"),
        ("id,report\n", "holds no report"),
        ("id;report\n1;Fine.\n", "parted by commas"),
    ],
)
def test_a_row_that_may_have_lost_a_part_of_its_report_is_refused(
    tmp_path: Path, content: str, reason: str
) -> None:
    with pytest.raises(InvalidReportFile, match=reason) as refused:
        read(tmp_path, content)
    assert "L5" not in str(refused.value)


def test_commas_and_line_breaks_in_quotes_are_kept(tmp_path: Path) -> None:
    found = read(tmp_path, '\ufeff id ,report,note,note\r\n" 1 ","No stenosis,\r\nnone.",,\r\n')
    assert found == [("1", "No stenosis,\r\nnone.")]
