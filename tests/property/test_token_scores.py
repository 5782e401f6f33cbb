from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.labeler import checked
from labeling.schema_file import shipped_schema
from labeling.token_scores.labeler import TokenScoreLabeler
from tests.fake_language_model import FakeLanguageModel
from tests.labeling_builders import setup_of

SPINE = shipped_schema("spine")
SCHEMA = replace(SPINE, observations=SPINE.observations[:2])
PIECES = [
    "FINDINGS:", "\r\n", "\r", "\n", ". ", "disc extrusion", "No stenosis.", "🙂", "\u202b",
    "<|im_end|>", "<|im_", "end|>", "</report>", "<report>", "{name}", "L4-L5: ", "HISTORY: ",
    "\x00", "é", "\u200d",
]  # fmt: skip


class Hashing(FakeLanguageModel):
    """Answers anything, the same to the same."""

    def _score(self, reading, stem, question):
        number = sum(map(ord, reading.report + stem.turns[-1] + question.text)) % 17
        return (number - 8.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), max_size=3))
def test_any_text_gets_checked_results_and_never_leaves_its_frame(texts):
    model = Hashing()
    labeler = TokenScoreLabeler(setup_of(SCHEMA), model)
    given_results = list(labeler.label_reports(texts))
    assert len(given_results) == len(texts)
    for text, results in zip(texts, given_results, strict=True):
        checked(results, SCHEMA, text)
    for call in model.scored:
        for request in call:
            for marker in (*model.markers, "<report>", "</report>", "\x00", "\r"):
                assert marker not in request.reading.report
