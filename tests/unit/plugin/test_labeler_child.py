"""A report that a labeler does not survive fails alone; a labeler that survives none stops."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labeling.labeler import LabelerSetup, LabelResult, failed, row_of
from labeling.schema_file import shipped_schema
from labeling.settings import LabelingSettings
from labeling.vocabulary import State
from plugin.errors import ChildFailed, Permanent, TaskBroke
from plugin.labeler_child import DIED, LabelerChild
from plugin.tasks import TASKS

SCHEMA = shipped_schema("spine")
ANSWER = [row_of(each) for each in failed(SCHEMA, "as it were read")]
BATCH = 2


class Child:
    """Reads two reports side by side; what it meets in a text decides how it ends."""

    def __init__(self, meets: Callable[[str, int], Exception | None]) -> None:
        self.meets, self.lives, self.asked = meets, 1, []

    def run(self, task: str, job: dict[str, Any], progress: Callable[[str], None]) -> Iterator[Any]:
        reports = job["reports"]
        self.asked.append([key for key, _ in reports])
        for start in range(0, len(reports), BATCH):
            batch = reports[start : start + BATCH]
            for _, text in batch:
                if error := self.meets(text, self.lives):
                    raise error
            yield from ([key, ANSWER] for key, _ in batch)

    def restart(self) -> None:
        self.lives += 1


def read(child: Child, texts: str) -> list[tuple[str, str]]:
    """Return key and reason of each report; a report is one letter, and that is its key, too."""
    labeler = LabelerChild(child, "rules", LabelingSettings(), Path())  # type: ignore[arg-type]
    found = labeler.read([(each, each) for each in texts], lambda _: None)
    return [(key, results[0].detail) for key, results in found]


def dies_at(*texts: str) -> Callable[[str, int], Exception | None]:
    return lambda text, _: ChildFailed("gone") if text in texts else None


FINE = "as it were read"


def test_a_report_that_kills_the_child_fails_alone_and_in_its_place() -> None:
    child = Child(dies_at("d"))
    found = read(child, "abcdef")
    assert found == [(each, DIED if each == "d" else FINE) for each in "abcdef"]
    # The first death, and two more of the report alone.
    assert child.lives == 4
    assert child.asked[0] == list("abcdef")
    assert child.asked[1:4] == [["c"], ["d"], ["d"]]


def test_several_such_reports_fail_each_alone() -> None:
    found = read(Child(dies_at("a", "b", "f")), "abcdef")
    assert [key for key, reason in found if reason == DIED] == ["a", "b", "f"]


def test_a_child_that_was_killed_once_costs_no_report() -> None:
    def first_life(text: str, life: int) -> Exception | None:
        return ChildFailed("killed") if text == "c" and life == 1 else None

    assert read(Child(first_life), "abcdef") == [(each, FINE) for each in "abcdef"]


def test_reports_that_are_too_much_together_are_read_apart() -> None:
    child = Child(lambda _text, life: ChildFailed("no memory") if life == 1 else None)
    assert read(child, "abc") == [(each, FINE) for each in "abc"]


def test_an_error_that_nobody_foresaw_fails_its_report_with_its_own_words() -> None:
    said = "unexpected RecursionError at rules.py, line 7"
    child = Child(lambda text, _: TaskBroke(said) if text == "b" else None)
    assert read(child, "abc") == [("a", FINE), ("b", said), ("c", FINE)]


@pytest.mark.parametrize("error", [ChildFailed("gone"), TaskBroke("unexpected")])
def test_a_labeler_that_survives_no_report_stops_instead(error: Exception) -> None:
    with pytest.raises(type(error)):
        read(Child(lambda *_: error), "abc")


def test_a_refusal_stops_at_once() -> None:
    child = Child(lambda *_: Permanent("the model is not what the settings say"))
    with pytest.raises(Permanent, match="not what the settings say"):
        read(child, "abc")
    assert child.lives == 1


def test_every_label_of_such_a_report_has_failed() -> None:
    labeler = LabelerChild(Child(dies_at("x")), "rules", LabelingSettings(), Path())  # type: ignore[arg-type]
    [(_, results)] = labeler.read([(1, "x")], lambda _: None)
    assert {each.state for each in results} == {State.FAILED}
    assert len(results) == len(failed(SCHEMA, ""))


def test_a_labeler_is_told_that_margins_are_all_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    setups: list[LabelerSetup] = []

    class Noted:
        def __init__(self, setup: LabelerSetup) -> None:
            setups.append(setup)

        def label_reports(self, texts: list[str]) -> Iterator[list[LabelResult]]:
            return iter([failed(SCHEMA, "as it were read")] * len(texts))

    class HereAndNow:
        def run(
            self, task: str, job: dict[str, Any], progress: Callable[[str], None]
        ) -> Iterator[Any]:
            found: list[Any] = []
            TASKS[task](job, lambda _, value: found.append(value))
            return iter(found)

    monkeypatch.setattr("plugin.tasks.load", lambda *_: Noted)
    labeler = LabelerChild(HereAndNow(), "rules", LabelingSettings(), tmp_path)  # type: ignore[arg-type]
    for _ in range(2):
        assert len(list(labeler.read([("a", "a")], lambda _: None))) == 1
        labeler.spare_evidence()
    assert [each.evidence for each in setups] == [True, False]
