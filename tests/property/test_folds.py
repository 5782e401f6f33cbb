"""Folds: the same patient on the same side, whatever else is in the archive."""

from hypothesis import given, settings
from hypothesis import strategies as st

from training.folds import assign_fold, follow, patient_key

SALT = b"a salt for tests"
# Few letters, so that pairs which only differ in where they are cut come up.
LETTERS = 'ab",^é'
identifiers = st.text(LETTERS, min_size=1, max_size=4)
identities = st.tuples(st.text(LETTERS, max_size=3), identifiers)
shares = st.tuples(st.floats(0.01, 0.45), st.floats(0.01, 0.45))


@settings(max_examples=60, deadline=None)
@given(identities, identities)
def test_two_identities_have_one_key_only_if_they_are_one(first, second):
    same = patient_key(*first, SALT) == patient_key(*second, SALT)
    assert same == (first == second)


@settings(max_examples=60, deadline=None)
@given(st.sets(identities, max_size=30), st.sets(identities, max_size=30), shares)
def test_added_patients_move_nobody(before, added, share):
    def split(group):
        return {each: assign_fold(patient_key(*each, SALT), *share) for each in group}

    earlier, later = split(before), split(before | added)
    assert all(later[each] == fold for each, fold in earlier.items())


@settings(max_examples=60, deadline=None)
@given(st.sets(identities, min_size=1, max_size=30), shares, st.data())
def test_locked_patients_are_the_test_fold_and_nobody_else_is(group, share, data):
    keys = sorted(patient_key(*each, SALT) for each in group)
    locked = frozenset(data.draw(st.sets(st.sampled_from(keys))))
    folds = {key: assign_fold(key, *share, locked) for key in keys}
    assert {key for key, fold in folds.items() if fold == "test"} == locked
    free = {key: assign_fold(key, *share) for key in keys}
    validation = {key for key, fold in free.items() if fold == "validation"}
    assert {key for key, fold in folds.items() if fold == "validation"} == validation - locked


nodes = st.tuples(st.just("A"), st.sampled_from("abcdefg"))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(nodes, nodes, max_size=7))
def test_both_ends_of_every_merge_survive_as_one_identity(went_to):
    for prior, surviving in went_to.items():
        assert follow(prior, went_to) == follow(surviving, went_to)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(nodes, nodes, max_size=7), nodes)
def test_a_survivor_survives_itself(went_to, start):
    end = follow(start, went_to)
    assert follow(end, went_to) == end
