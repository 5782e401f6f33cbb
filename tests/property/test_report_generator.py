import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.vocabulary import WHOLE, State
from plugin.simulation.reports import Habits, preliminary, write_report
from plugin.simulation.reports_wording import precedence
from plugin.simulation.truth import LEVELS, OBSERVATIONS, draw_truth

shares = st.sampled_from([0.0, 0.1, 0.5, 1.0])
habits = st.builds(
    Habits, hedged_rate=shares, omitted_rate=shares, unsaid_rate=shares, typo_rate=shares
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), habits=habits)
def test_the_text_never_says_the_opposite_of_the_truth(seed: int, habits: Habits) -> None:
    rng = np.random.default_rng(seed)
    truth = draw_truth(rng)
    final = write_report(truth, rng, habits=habits)
    for report in (final, preliminary(final)):
        for observation in OBSERVATIONS:
            states = report.states[observation]
            assert states[WHOLE] is precedence(states[level] for level in LEVELS)
            for level in LEVELS:
                opposite = State.ABSENT if truth.present(observation, level) else State.PRESENT
                assert states[level] is not opposite


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), habits=habits)
def test_spans_lie_in_the_text_and_positive_ones_name_the_level(seed: int, habits: Habits) -> None:
    rng = np.random.default_rng(seed)
    report = write_report(draw_truth(rng), rng, habits=habits)
    mentioned = {
        (observation, site)
        for observation, sites in report.states.items()
        for site, state in sites.items()
        if state is not State.NOT_MENTIONED
    }
    assert set(report.spans) == mentioned
    for (observation, site), (start, end) in report.spans.items():
        assert 0 <= start < end <= len(report.text)
        said = report.states[observation][site]
        if site != WHOLE and said in (State.PRESENT, State.UNCERTAIN):
            line = report.text[report.text.rfind("\n", 0, start) + 1 : end]
            assert site.split("-")[0] in line
