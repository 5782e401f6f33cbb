"""deploy/linking.md names places and tests that exist, for each rule."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from dicom_node.linking.decision import REQUIREMENTS
from dicom_node.models import Patient
from tests.hl7_builders import NOW, database
from tests.property import test_small_worlds as worlds

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "deploy/linking.md").read_text(encoding="utf-8")
ROWS = {
    cells[0]: cells[1:]
    for line in TEXT.splitlines()
    if re.match(r"\| R\d+ \|", line)
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}


def _places(cell: str) -> list[tuple[str, str]]:
    return [
        (path, name)
        for path, names in re.findall(r"`([\w/.]+\.py): ([\w, ]+)`", cell)
        for name in names.split(", ")
    ]


@cache
def _names(path: str) -> frozenset[str]:
    """What a file defines at its top."""
    found: set[str] = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(each.id for each in targets if isinstance(each, ast.Name))
    return frozenset(found)


def test_every_rule_has_a_row() -> None:
    assert list(ROWS) == list(REQUIREMENTS)


@pytest.mark.parametrize("rule", REQUIREMENTS)
def test_places_and_tests_of_a_rule_exist(rule: str) -> None:
    _, where, tests = ROWS[rule]
    assert _places(where)
    assert _places(tests)
    for path, name in _places(where) + _places(tests):
        assert name in _names(path), f"{path} has no {name}"
    assert all(
        path.startswith("tests/") and name.startswith("test_") for path, name in _places(tests)
    )


def test_the_number_of_small_worlds_is_as_written() -> None:
    orders = list(worlds._orders())
    different = [order for order in orders if order == worlds._same_identities(order)]
    for some in (orders, different):
        assert f"{sum(1 for _ in worlds._worlds(some)):,}" in TEXT


def test_r12_one_identity_is_one_row(tmp_path: Path) -> None:
    made = database(tmp_path)
    twice = [
        Patient(issuer_of_patient_id="HOSP", patient_id="P1", first_seen_at=NOW) for _ in range(2)
    ]
    with pytest.raises(IntegrityError), made.write() as session:
        session.add_all(twice)
    made.close()
