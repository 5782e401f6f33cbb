"""Folds: the same patient on the same side, whatever else is in the archive."""

from hypothesis import given, settings
from hypothesis import strategies as st

from training.folds import assign_fold, patient_key, survivors

SALT = b"a salt for tests"
# Few letters, so that pairs which only differ in where they are cut come up.
LETTERS = 'ab",^é'
identifiers = st.text(LETTERS, min_size=1, max_size=4)
identities = st.tuples(st.text(LETTERS, max_size=3), identifiers)
shares = st.tuples(st.floats(0.01, 0.45), st.floats(0.01, 0.45))


@settings(max_examples=30, deadline=None)
@given(identities, identities)
def test_two_identities_have_one_key_only_if_they_are_one(first, second):
    same = patient_key(*first, SALT) == patient_key(*second, SALT)
    assert same == (first == second)


@settings(max_examples=30, deadline=None)
@given(st.sets(identities, max_size=12), st.sets(identities, max_size=12), shares)
def test_added_patients_move_nobody(before, added, share):
    def split(group):
        return {each: assign_fold(patient_key(*each, SALT), *share) for each in group}

    earlier, later = split(before), split(before | added)
    assert all(later[each] == fold for each, fold in earlier.items())


@settings(max_examples=30, deadline=None)
@given(st.sets(identities, min_size=1, max_size=12), shares, st.data())
def test_locked_patients_are_the_test_fold_and_nobody_else_is(group, share, data):
    keys = sorted(patient_key(*each, SALT) for each in group)
    locked = frozenset(data.draw(st.sets(st.sampled_from(keys))))
    folds = {key: assign_fold(key, *share, locked) for key in keys}
    assert {key for key, fold in folds.items() if fold == "test"} == locked
    free = {key: assign_fold(key, *share) for key in keys}
    validation = {key for key, fold in free.items() if fold == "validation"}
    assert {key for key, fold in folds.items() if fold == "validation"} == validation - locked


nodes = st.tuples(st.just("A"), st.sampled_from("abcdefg"))
events = st.lists(st.tuples(nodes, nodes), max_size=9)


@settings(max_examples=30, deadline=None)
@given(events)
def test_both_ends_of_every_merge_are_one_patient(merges):
    found = survivors(merges)
    assert all(found[prior] == found[surviving] for prior, surviving in merges)


@settings(max_examples=30, deadline=None)
@given(events)
def test_a_survivor_survives_itself_and_is_one_of_the_merged(merges):
    found = survivors(merges)
    assert all(found[end] == end for end in found.values())
    assert found.keys() == {each for pair in merges for each in pair}


@settings(max_examples=30, deadline=None)
@given(st.permutations("abcdefg"), st.data())
def test_without_contradictions_the_order_of_merges_does_not_matter(names, data):
    # Each identity is merged into one further on: chains with an end.
    places = range(len(names))
    merges = [
        (("A", names[place]), ("A", names[data.draw(st.sampled_from(places[place + 1 :]))]))
        for place in places[:-1]
    ]
    assert set(survivors(merges).values()) == {("A", names[-1])}
    assert survivors(data.draw(st.permutations(merges))) == survivors(merges)
