import threading

import pytest

from labeling.settings import LabelingSettings
from plugin.errors import ChildFailed
from plugin.labeler_children import LabelerChildren, _parts, _processes, _Reading


class Child:
    """Answers with its own name, and fails at a report that says so."""

    def __init__(self, name):
        self.name = name

    def read(self, reports, progress):
        for key, text in reports:
            if text == "deadly":
                raise ChildFailed("gone")
            yield key, [self.name]


def read(reports, number=2):
    children = LabelerChildren([Child(str(each)) for each in range(number)], at_once=8)
    return list(children.read(list(enumerate(reports)), lambda _: None))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 64])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_answers_come_in_order_whoever_gives_them(count, number):
    found = read(["text"] * count, number)
    assert [key for key, _ in found] == list(range(count))
    assert len({each for _, [each] in found}) == min(count, number)


def test_parts_weigh_alike():
    long, short = (0, "x" * 900), (1, "x" * 100)
    assert [len(each) for each in _parts([long] + [short] * 9, 2)] == [1, 9]
    assert _parts([long], 2) == [[long]]


def test_what_stops_a_child_is_raised_after_the_answers_before_it():
    children = LabelerChildren([Child("a"), Child("b")], at_once=8)
    answers = children.read(list(enumerate(["one text", "deadly", "good", "good"])), lambda _: None)
    assert next(answers)[0] == 0
    with pytest.raises(ChildFailed):
        list(answers)


def test_children_end_with_their_next_answer_where_nobody_wants_more():
    asked, wanted = [], threading.Event()

    class Slow(Child):
        def read(self, reports, progress):
            for answer in super().read(reports, progress):
                wanted.wait()
                asked.append(answer)
                yield answer

    reading = _Reading(Slow("slow"), [(number, "text") for number in range(64)], lambda _: None)
    reading.stopped.set()
    wanted.set()
    reading.stop()
    assert len(asked) == 1


def test_only_a_small_model_pays_in_more_processes():
    settings = LabelingSettings.model_validate({"language_model": {"threads": 4}})
    assert [_processes(each, settings) for each in ("student", "token_scores")] == [4, 1]
    one = LabelingSettings.model_validate({"student": {"processes": 1}})
    assert _processes("student", one) == 1
