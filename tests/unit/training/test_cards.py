"""Pieces of model cards: words taken literally, identifiers removed, items never claimed."""

import json
import re
from typing import Any

import pytest

from dicom_node.models import Study
from labeling.reader_labels import ReaderLabel
from labeling.vocabulary import State
from tests.cohort_builders import NOW, blank_session
from training.cards.checklist import ANSWERED, FILES, IN_PART, UNKNOWN, _filled, at, is_known, read
from training.cards.cohort_facts import counted, soft_share, targets
from training.cards.evaluation_section import _untold
from training.cards.people import _age, _years, is_marked
from training.cards.pictures import pictures
from training.cards.privacy import REMOVED, redacted, without_uids
from training.cards.references import _states
from training.cards.subject import FreeText
from training.cards.text import estimate, plain, table
from training.cards.writing import write_card
from training.errors import Permanent
from training.models import CohortMember

PNG = b"\x89PNG\r\n\x1a\n"


def test_words_of_persons_cannot_break_the_markdown() -> None:
    row = {"reason": "a | b\n# <b>x</b> [y](z) `q`", "code_": None}
    lines = table([row]).splitlines()
    assert lines[2] == r"| a \| b \# \<b\>x\</b\> \[y\](z) \`q\` | not known |"
    assert len(lines) == 3


def test_figures_are_told_with_their_interval_or_without() -> None:
    assert estimate({"value": 0.91234, "low": 0.8, "high": 1.0}) == "0.912 (0.800 to 1.000)"
    assert estimate({"value": 0.5, "low": None, "high": None}) == "0.500 (no interval)"
    assert estimate({"value": None, "low": None, "high": None}) == estimate(None) == "none"
    assert plain(True) == "yes"
    assert [plain(each) for each in (0.0, 0.0001, 0.25)] == ["0.000", "0.0001", "0.250"]
    assert plain([]) == "none"
    assert plain("evil\x1b[31m name") == r"evil \[31m name"


def add_patient(session: Any, **more: str) -> None:
    session.add(
        Study(
            study_instance_uid="1.2.3", first_received_at=NOW, last_received_at=NOW,
            patient_id="PID-7431", patient_name="WINTERSTEIN^ANA MARIA^^DR=X",
            patient_birth_date="19510223", accession_number="ACC9912", **more,
        )
    )  # fmt: skip
    session.flush()


@pytest.mark.parametrize(
    "text",
    [
        "asked by Mrs. Winterstein", "for pid-7431, urgent", "see ACC9912", "born 1951-02-23",
        "born 23.02.1951", "study 1.2.826.0.1.99.7 looks odd", "Maria said so",
        "born 23 Feb 1951", "born February 23, 1951", "born 2/23/51", "ACC 99-12", "Winter Stein",
        "study 2.25.826059538215333294890476068014137652622", "PID_74.31", "1951/02/23",
    ],
)  # fmt: skip
def test_what_identifies_a_patient_is_removed_from_free_words_alone(text: str) -> None:
    with blank_session() as session:
        add_patient(session)
        facts = {"events": [{"reason": FreeText(text)}], "device_uid": "1.2.826.0.1.55.1.2"}
        found, removed = redacted(session, facts)
    (event,) = found["events"]
    assert removed == 1
    assert REMOVED in event["reason"] or "(UID)" in event["reason"]
    gone = ("wint", "7431", "74.31", "9912", "99-12", "1951", "/51", "826", "maria")
    assert not any(word in event["reason"].casefold() for word in gone)
    assert found["device_uid"] == "1.2.826.0.1.55.1.2"


def test_words_that_only_hold_a_name_stay() -> None:
    with blank_session() as session:
        add_patient(session)
        said = "Mariannenstrasse, ana, PID-74310, 22351 images, radloop 2.25.1"
        found, removed = redacted(session, {"reason": FreeText(said)})
    assert (found, removed) == ({"reason": said}, 0)
    assert type(found["reason"]) is str


def test_reasons_are_counted_without_uids() -> None:
    assert without_uids("MONAI 1.6.1, 2.25.123.4.5.") == "MONAI 1.6.1, (UID)."
    rows = counted(["like study 1.2.840.1.1", "like study 1.2.840.1.2", "no report"])
    assert rows == [
        {"reason": "like study (UID)", "count": 2}, {"reason": "no report", "count": 1}
    ]  # fmt: skip


def member(patient: str, fold: str, **sites: float | None) -> CohortMember:
    return CohortMember(
        cohort_id=1, study_instance_uid=patient, patient_key=patient, fold=fold,
        targets={"stenosis": sites},
    )  # fmt: skip


def test_targets_and_patients_are_counted_by_fold() -> None:
    members = [
        member("a", "train", x=1.0, y=0.0), member("b", "train", x=0.25, y=None),
        member("c", "test", x=1.0, y=1.0),
    ]  # fmt: skip
    train, validation, test = targets(members, ["stenosis"])
    assert train == {
        "observation": "stenosis", "fold": "train", "present_targets": 1, "present_patients": 1,
        "absent_targets": 1, "absent_patients": 1, "soft_targets": 1, "soft_patients": 1,
        "unknown_targets": 1,
    }  # fmt: skip
    assert validation["present_targets"] == 0
    assert (test["present_targets"], test["present_patients"]) == (2, 1)
    assert soft_share(members[:2]) == pytest.approx(1 / 3)
    assert soft_share([]) is None


def test_simulated_data_say_so_themselves() -> None:
    assert is_marked("Simulated Vendor A", "")
    assert is_marked("ACME", "Torso PHANTOM")
    assert not is_marked("SIEMENS", "Avanto")


def test_dates_of_other_digits_are_no_dates() -> None:
    """A superscript two is a digit to Python and no number; the card goes on without it."""
    rows = [
        Study(study_instance_uid="1", patient_birth_date="195\u00b20101", study_date="20250101"),
        Study(study_instance_uid="2", patient_birth_date="19500101", study_date="202\u00b20101"),
    ]
    assert [_age(each) for each in rows] == [None, None]
    assert _years(rows) == {"first": 2025, "last": 2025}


def test_every_label_of_a_reader_stands_in_a_column() -> None:
    given = [("x", ReaderLabel(state)) for state in (*State, None) if state is not State.FAILED]
    (row,) = _states(given)
    assert sum(value for value in row.values() if isinstance(value, int)) == len(given)
    assert (row["not_mentioned"], row["stable_unknown"], row["disputed"]) == (1, 1, 1)


def test_the_guidelines_are_whole_and_in_order() -> None:
    tripod, claim = (read(name) for name in FILES)
    assert [each["number"] for each in claim["items"]] == [str(n) for n in range(1, 45)]
    numbers = [each["number"] for each in tripod["items"]]
    assert len(numbers) == len(set(numbers)) == 52
    assert [int(m[0]) for n in numbers if (m := re.match(r"\d+", n))] == sorted(
        int(re.match(r"\d+", n)[0])
        for n in numbers  # type: ignore[index]
    )


def test_an_item_is_never_claimed_beyond_what_is_known() -> None:
    told = {
        "name": "G", "source": "S",
        "items": [
            {"number": "1", "asks": "a", "facts": ["x.known"]},
            {"number": "2", "asks": "b", "facts": ["x.known", "x.unknown"]},
            {"number": "3", "asks": "c", "facts": ["x.unknown", "rows.v"]},
            {"number": "4", "asks": "d", "facts": ["x.known"], "lacks": "more"},
            {"number": "5", "asks": "e"},
        ],
    }  # fmt: skip
    facts = {"x": {"known": 0, "unknown": None}, "rows": [{"v": None}, {"v": False}]}
    found = _filled(told, facts)
    states = [each["state"] for each in found["items"]]
    assert states == [ANSWERED, IN_PART, UNKNOWN, IN_PART, UNKNOWN]
    assert [each["lacks"] for each in found["items"]] == ["", "x: unknown", "", "more", ""]
    assert found["counts"] == {ANSWERED: 1, IN_PART: 2, UNKNOWN: 2}
    with pytest.raises(KeyError):
        at(facts, "x.misspelt")
    assert not is_known({"a": [], "b": {"c": ""}})


def facts_with(*observations: dict[str, Any], curve: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": {"reference": "m:1", "best_epoch": 1},
        "training_data": {"simulated": {"any": False}},
        "reference_labels": {"simulated_readers": 0},
        "results": {"observations": list(observations), "learning_curve": curve},
    }


def test_pictures_are_drawn_of_what_is_recorded_and_the_others_named() -> None:
    auroc = {"value": 0.75, "low": None, "high": None}
    row = {
        "observation": "x", "n": 7, "positives": 3, "patients": 4, "auroc": auroc,
        "roc": {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]}, "baselines": [],
        "reliability": [
            {"low": 0.0, "high": 0.5, "n": 6, "positives": 2, "mean_probability": 0.2},
            {"low": 0.5, "high": 1.0, "n": 1, "positives": 1, "mean_probability": None},
        ],
    }  # fmt: skip
    shown, files = pictures(facts_with(row, curve=[]))
    assert set(files) == {"roc.png", "reliability.png"}
    assert all(content.startswith(PNG) for content in files.values())
    assert [bool(each["file"]) for each in shown] == [True, True, False]
    old = {**row, "reliability": None, "roc": None}
    shown, files = pictures(facts_with(old, curve=[]))
    assert not files
    assert all(each["why"] for each in shown)


def test_a_card_is_written_into_no_folder_that_holds_anything_else(tmp_path: Any) -> None:
    (tmp_path / "report.txt").write_text("x")
    with pytest.raises(Permanent, match="not a model card"):
        write_card({}, tmp_path)
    (tmp_path / "report.txt").unlink()
    (tmp_path / "card.json").write_text(json.dumps({"form": "another"}))
    with pytest.raises(Permanent, match="not a model card"):
        write_card({}, tmp_path)


def test_groups_without_figures_are_told_once_and_named_in_words() -> None:
    few = "fewer than 10 patients"
    rows = [
        {"attribute": "site", "group": "site 1", "patients": None, "note": few},
        {"attribute": "site", "group": "site 1", "patients": None, "note": few},
        {"attribute": "age", "group": "18-40", "patients": None, "note": few},
        {"attribute": "sex", "group": "F", "patients": 30, "note": ""},
    ]
    assert _untold(rows) == [f"{few}: site 1, age 18-40."]
