import pytest

from labeling.errors import Permanent
from labeling.reference_file import read_reader_states
from labeling.schema_file import shipped_schema
from labeling.student.buckets import Buckets
from labeling.student.examples import Example
from labeling.student.teaching import taught_by_both, taught_by_readers
from labeling.vocabulary import WHOLE, State

SPINE = shipped_schema("spine")
CHEST = shipped_schema("chest")
P, U, A, N = State.PRESENT, State.UNCERTAIN, State.ABSENT, State.NOT_MENTIONED
WHOLE_STENOSIS = ("stenosis", WHOLE)
L4, L5 = ("stenosis", "L4-L5"), ("stenosis", "L5-S1")


def example(states, evidence=None, name="1"):
    allowed = {place: frozenset({state}) for place, state in states.items()}
    return Example("p", "Some text of a report.", allowed, evidence or {}, name)


def test_what_nobody_read_stays_the_teachers():
    taught = example({WHOLE_STENOSIS: P, L4: A}, {WHOLE_STENOSIS: ((0, 4),)})
    assert taught_by_both(taught, {}, SPINE) == taught


def test_the_reader_wins_and_the_teachers_evidence_for_the_contrary_goes():
    taught = example({WHOLE_STENOSIS: P}, {WHOLE_STENOSIS: ((0, 4),)})
    found = taught_by_both(taught, {WHOLE_STENOSIS: A}, SPINE)
    assert found.allowed == {WHOLE_STENOSIS: {A}}
    assert found.evidence == {}


def test_a_readers_quote_is_evidence():
    quotes = {WHOLE_STENOSIS: ((5, 9),)}
    found = taught_by_both(example({WHOLE_STENOSIS: P}), {WHOLE_STENOSIS: P}, SPINE, quotes)
    assert found.evidence == quotes


def test_a_denied_finding_is_at_no_level():
    found = taught_by_both(example({L4: P, L5: N}), {WHOLE_STENOSIS: A}, SPINE)
    assert found.allowed == {WHOLE_STENOSIS: {A}, L5: {N}}


def test_a_finding_at_a_level_is_in_the_report():
    found = taught_by_both(example({WHOLE_STENOSIS: A, L5: P}), {L4: P}, SPINE)
    assert found.allowed == {WHOLE_STENOSIS: {P}, L4: {P}, L5: {P}}


def test_parents_follow_what_readers_say():
    child = next(each for each in CHEST.observations if each.parents)
    parent = child.parents[0]
    present = taught_by_both(example({(parent, WHOLE): A}), {(child.id, WHOLE): P}, CHEST)
    assert present.allowed[parent, WHOLE] == {P}
    denied = taught_by_both(example({(child.id, WHOLE): P}), {(parent, WHOLE): A}, CHEST)
    assert (child.id, WHOLE) not in denied.allowed


def test_where_readers_disagree_nobody_knows():
    found = taught_by_both(example({WHOLE_STENOSIS: P, L4: P}), {WHOLE_STENOSIS: None}, SPINE)
    assert found.allowed == {L4: {P}}


def test_unchanged_says_that_it_was_spoken_of():
    said = {WHOLE_STENOSIS: State.STABLE_UNKNOWN}
    assert taught_by_both(example({}), said, SPINE).allowed[WHOLE_STENOSIS] == {P, U, A}


def test_readers_find_their_reports_by_id():
    examples = [example({WHOLE_STENOSIS: P}, name=name) for name in ("1", "2")]
    found, reached = taught_by_readers(examples, {"2": {WHOLE_STENOSIS: A}, "3": {}}, SPINE)
    assert [each.allowed[WHOLE_STENOSIS] for each in found] == [{P}, {A}]
    assert reached == 1


HEADER = "level,subject,observation,site,reader,state\n"


def test_a_file_of_readers_is_read_without_a_node(tmp_path):
    path = tmp_path / "readers.csv"
    rows = ("file,1,stenosis,whole,a,present", "file,1,stenosis,whole,b,present",
            "file,1,herniation,whole,a,present", "file,1,herniation,whole,b,absent")  # fmt: skip
    path.write_text(HEADER + "\n".join(rows), "utf-8")
    said = read_reader_states(path, SPINE)
    assert said == {"1": {WHOLE_STENOSIS: P, ("herniation", WHOLE): None}}


@pytest.mark.parametrize(
    "row", ["file,1,stenosis,whole,a,perhaps", "image,1.2,stenosis,whole,a,present", "file,1"]
)
def test_a_line_that_cannot_be_taken_is_named(tmp_path, row):
    path = tmp_path / "readers.csv"
    path.write_text(f"{HEADER}{row}\n", "utf-8")
    with pytest.raises(Permanent, match=r"readers\.csv, line 2"):
        read_reader_states(path, SPINE)


def test_a_length_alone_decides_the_shape():
    buckets = Buckets(step=8, most=32)
    lengths = [3, 9, 8, 40, 1, 16, 7, 5]
    batches = list(buckets.fill(lengths))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        [shape] = {buckets.padded(lengths[place]) for place in batch}
        assert len(batch) <= buckets.rows(shape)
        assert shape >= max(lengths[place] for place in batch)
    assert list(buckets.fill([])) == []
    assert buckets.rows(40) == 1
    assert buckets.padded(0) == 8
