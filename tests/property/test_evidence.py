from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.token_scores.evidence import MAXIMUM_SENTENCES, Case, find_evidence

KEYS = [("a", "whole"), ("a", "L1-L2"), ("b", "whole")]
weights = st.lists(st.floats(-3, 6), min_size=0, max_size=70)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(KEYS), weights), min_size=1, max_size=3),
    st.floats(-4, 4),
)
def test_evidence_is_always_sentences_whose_removal_costs(reports, floor):
    counts = [max((len(each) for each in report.values()), default=0) for report in reports]

    def margin(case, key, kept):
        values = reports[case][key]
        return sum(values[index] for index in kept if index < len(values))

    def ask(excerpts):
        answers = []
        for each in excerpts:
            everything = set(range(counts[each.case]))
            kept = each.sentences if each.alone else everything - each.sentences
            assert each.sentences <= everything
            answers.append({key: margin(each.case, key, kept) for key in each.keys})
        return answers

    cases = [
        Case(
            count,
            {key: margin(number, key, range(count)) for key in report},
            dict.fromkeys(report, floor),
        )
        for number, (report, count) in enumerate(zip(reports, counts, strict=True))
    ]
    for number, found in enumerate(find_evidence(cases, ask)):
        assert found.keys() == reports[number].keys()
        for key, sentences in found.items():
            assert len(set(sentences)) == len(sentences) <= MAXIMUM_SENTENCES
            assert all(reports[number][key][each] > 0 for each in sentences)
