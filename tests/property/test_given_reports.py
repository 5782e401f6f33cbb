"""Given findings of any schema are said as they are, whatever the reader doubts or leaves out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.schema_file import shipped_names, shipped_schema
from labeling.synthesis.generator import Findings, write
from labeling.synthesis.given import Reader
from labeling.vocabulary import WHOLE, State

SCHEMAS = {name: shipped_schema(name) for name in shipped_names()}
SAID = {State.PRESENT: State.ABSENT, State.ABSENT: State.PRESENT}
shares = st.sampled_from([0.0, 0.1, 0.5, 1.0])
readers = st.builds(Reader, hedged=shares, omitted=shares, unsaid=shares)


@st.composite
def findings(draw, schema):
    """Some observations without children, found or not at their sites or in the whole."""
    parents = {parent for each in schema.observations for parent in each.parents}
    leaves = [each for each in schema.observations if each.id not in parents and not each.parents]
    chosen = draw(st.lists(st.sampled_from(leaves), unique=True, max_size=5))
    states = {}
    for each in chosen:
        for site in each.sites or (WHOLE,):
            states[each.id, site] = draw(st.sampled_from([*SAID, State.UNCERTAIN]))
    return states


@pytest.mark.parametrize("name", sorted(SCHEMAS))
@settings(max_examples=20, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**31), reader=readers, concluded=st.booleans())
def test_the_text_never_says_the_opposite_of_the_truth(name, data, seed, reader, concluded):
    states = data.draw(findings(SCHEMAS[name]))
    report = write(
        SCHEMAS[name],
        Findings(states),
        name=str(seed),
        split="test",
        reader=reader,
        concluded=concluded,
    )
    assert report.text.strip()
    for place, state in states.items():
        allowed = {state, State.UNCERTAIN, State.NOT_MENTIONED}
        assert report.states[place] in allowed
        if reader == Reader():
            assert report.states[place] is state
    for place, state in report.states.items():
        spans = report.evidence.get(place, ())
        assert bool(spans) is (state is not State.NOT_MENTIONED)
        assert all(0 <= start < end <= len(report.text) for start, end in spans)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
@settings(max_examples=20, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_a_reader_without_doubts_says_all_of_it(name, data, seed):
    states = data.draw(findings(SCHEMAS[name]))
    report = write(SCHEMAS[name], Findings(states), name=str(seed), split="train")
    assert {place: report.states[place] for place in states} == states
