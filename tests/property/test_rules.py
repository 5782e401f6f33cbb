import string
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from labeling.schema_file import shipped_schema
from labeling.sections import find_sections, find_sentences
from labeling.vocabulary import WHOLE, State
from tests.labeling_builders import rules_of

SCHEMA = shipped_schema("spine")
LABELER = rules_of(SCHEMA)
LEVELS = [site.id for site in SCHEMA.sites]
TERMS = {
    "disc_narrowing": "disc space narrowing",
    "herniation": "disc herniation",
    "stenosis": "canal stenosis",
    "spondylolisthesis": "spondylolisthesis",
}
pieces = st.sampled_from(
    ["L4-L5", "L5/S1: ", "no ", "herniation", "stenosis", ". ", ", ", "\n", "\r\n", "\n\n", " and ",
     "FINDINGS:", "HISTORY: ", "Impression:", "the remaining levels", "normal", "?", "possible ",
     "all levels", "without ", "slip", "ADDENDUM: ", "\x00", "é", "\u202e", " "]
)  # fmt: skip
texts = st.one_of(
    st.lists(pieces, max_size=25).map("".join), st.text(max_size=80), st.text(string.printable)
)


@settings(max_examples=60, deadline=None)
@given(texts)
@example("herniation. herniation")
def test_any_text_gets_one_label_each_and_evidence_inside_it(text):
    results = LABELER.label_report(text)
    assert len({(r.observation, r.site) for r in results}) == len(results) == 38
    for result in results:
        # A finding that is said twice has two ranges.
        ends = [each for span in result.evidence for each in span]
        assert ends == sorted(set(ends))
        assert all(0 <= each <= len(text) for each in ends)
        assert (not result.evidence) == (result.state in {State.NOT_MENTIONED, State.FAILED})


@settings(max_examples=60, deadline=None)
@given(texts)
def test_sections_cover_the_text_and_sentences_lie_within_them(text):
    sections = find_sections(text)
    assert sections[0].start == 0
    assert sections[-1].end == len(text)
    for before, after in pairwise(sections):
        assert before.end == after.start
    for section in sections:
        end = section.body
        for sentence in find_sentences(text, section):
            assert end <= sentence.start < sentence.end <= section.end
            end = sentence.end


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(sorted(TERMS)), st.sampled_from(LEVELS)),
        st.sampled_from([State.PRESENT, State.ABSENT, State.UNCERTAIN]),
        max_size=8,
    ),
    st.sampled_from(["{0}: {1}.", "At {0}: {1}.", "{1} at {0}."]),
)
def test_what_is_written_level_by_level_is_read_back(truth, form):
    words = {State.PRESENT: "{}", State.ABSENT: "no {}", State.UNCERTAIN: "possible {}"}
    lines = [
        form.format(level, words[state].format(TERMS[observation]))
        for (observation, level), state in truth.items()
    ]
    labels = {
        (r.observation, r.site): r.state
        for r in LABELER.label_report("\n".join(["FINDINGS: Normal marrow.", *lines]))
    }
    for (observation, site), state in labels.items():
        if site == WHOLE:
            levels = [truth.get((observation, level)) for level in LEVELS]
            expected = next(
                (s for s in (State.PRESENT, State.UNCERTAIN, State.ABSENT) if s in levels),
                State.NOT_MENTIONED,
            )
            assert state is expected
        else:
            assert state is truth.get((observation, site), State.NOT_MENTIONED)
