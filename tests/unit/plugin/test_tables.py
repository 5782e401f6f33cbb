import io

import pytest
from rich.console import Console

from plugin.tables import print_result


def printed(result: dict, width: int = 120) -> str:
    out = io.StringIO()
    print_result(result, Console(file=out, width=width))
    return out.getvalue()


def test_what_peers_sent_is_text_and_not_markup() -> None:
    rows = [{"reason": "set it in [dicom] and [hl7]", "name": "[red]x[/red]"}]
    text = printed({"unlinked": rows, "one": "[bold]", "none": None})
    assert "set it in [dicom] and [hl7]" in text
    assert "[red]x[/red]" in text
    assert "one: [bold]" in text
    assert "none: -" in text


def test_nothing_steers_the_terminal() -> None:
    text = printed({"by": "evil\x1b[31m\x07", "rows": [{"name": "\x1b]0;x\x07"}]})
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "evil" in text


FIGURES = ("auroc", "balanced_accuracy", "f1", "sensitivity", "specificity", "precision", "brier")
OBSERVATIONS = ("stenosis", "cauda_equina_compression", "disc_narrowing")


def figures(observation: str) -> dict:
    row: dict = {"observation": observation, "n": 101, "uncertain_references": 12}
    for name in FIGURES:
        row |= {name: 0.9123, f"{name}_low": 0.8512, f"{name}_high": 0.9614}
    return row | {"calibration_error": None}


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_wide_table_is_parted_and_no_value_is_cut(width: int) -> None:
    text = printed({"figures": [figures(each) for each in OBSERVATIONS]}, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    parts = text.count("observation")
    assert 2 <= parts <= 6
    for observation in OBSERVATIONS:
        assert sum(observation in line for line in lines) == parts
    assert text.count("0.912 (0.851, 0.961)") == len(FIGURES) * len(OBSERVATIONS)
    assert len(lines) < parts * 12


def test_rows_that_the_first_column_does_not_tell_apart_begin_with_more() -> None:
    rows = [
        {"observation": "stenosis", "figure": name, "n": 10, "difference": -0.004, "low": -0.01,
         "high": 0.002, "p_delong": None, "same_state": 9, "remark": "r" * 30}
        for name in FIGURES
    ]  # fmt: skip
    lines = printed({"differences": rows}, 80).splitlines()
    assert sum("balanced_accuracy" in line for line in lines) == 2
    assert all("stenosis" in line for line in lines if "balanced_accuracy" in line)
    assert sum("-0.004 (-0.010, 0.002)" in line for line in lines) == len(FIGURES)


def test_a_value_without_its_interval_stands_alone() -> None:
    rows = [{"observation": "a", "auroc": 0.5, "auroc_low": None, "auroc_high": None}]
    text = printed({"figures": rows})
    assert "0.500" in text
    assert "(" not in text


def test_a_value_that_no_line_holds_is_printed_whole() -> None:
    path = "/data/" + "x" * 90
    text = printed({"files": [{"name": "a", "path": path}, {"name": "b", "path": path}]}, 80)
    assert text.count(path) == 2
