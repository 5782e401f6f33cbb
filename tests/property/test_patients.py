"""Folds never split whom linking takes for one patient, whatever was said and in which order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.linking.identifiers import Identifier
from dicom_node.linking.identity import Identities
from dicom_node.linking.identity_fold import Event
from training.patients import IdentityEvent, Patients, standing_joins

NAMES = "abcde"
said = st.tuples(
    st.sampled_from(["merge", "change", "move", "unlink"]),
    st.sampled_from(["", "20260101120000.000000", "20260101130000.000000", "20260301"]),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
)
histories = st.lists(said, max_size=8)


def patients(history):
    events = (
        IdentityEvent(time, action != "unlink", ("S", prior), ("S", surviving))
        for action, time, prior, surviving in history
    )
    return Patients(standing_joins(events))


def identities(history):
    return Identities(
        Event(action, time, Identifier(surviving, "S"), Identifier(prior, "S"))
        for action, time, prior, surviving in history
    )


@settings(max_examples=150, deadline=None)
@given(histories)
def test_whoever_is_one_patient_to_linking_is_one_to_the_folds(history):
    folds, links = patients(history), identities(history)
    for name in NAMES:
        same = {each.value for each in links.same(Identifier(name, "S"))}
        assert {folds.of("S", each) for each in same} == {folds.of("S", name)}


@settings(max_examples=60, deadline=None)
@given(histories, st.data())
def test_the_order_of_arrival_and_repetition_change_nothing(history, data):
    again = data.draw(st.permutations(history + history[:3]))
    first, second = patients(history), patients(again)
    assert [first.of("S", name) for name in NAMES] == [second.of("S", name) for name in NAMES]


@settings(max_examples=60, deadline=None)
@given(histories)
def test_the_identity_of_a_patient_is_one_of_the_patients_own(history):
    found = patients(history)
    for name in NAMES:
        end = found.of("S", name)
        assert found.of(*end) == end
        assert ("S", name) in found.named({end}) | {("S", name)}
