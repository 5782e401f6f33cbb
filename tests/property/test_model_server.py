import json

from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.llm.interface import Ask, Grammar, UnusableLanguageModel
from labeling.llm.json_text import kept_to
from labeling.llm.server_answers import completion_of, generated_of, scores_of

FORM = Grammar(
    {
        "type": "object",
        "properties": {
            "a": {"enum": [True, False, "uncertain"]},
            "b": {"type": "array", "items": {"enum": [1, 2, 3]}, "maxItems": 2},
        },
        "required": ["a", "b"],
        "additionalProperties": False,
    }
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "logprobs", "top_logprobs", "token", "logprob"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
TOKENS = st.fixed_dictionaries(
    {"token": st.text(max_size=3), "logprob": st.floats(max_value=0)},
    optional={
        "bytes": st.lists(st.integers(0, 255), max_size=3),
        "top_logprobs": st.lists(
            st.fixed_dictionaries(
                {
                    "token": st.sampled_from(["yes", " No", "no", "x", "é"]),
                    "logprob": st.floats(),
                }
            ),
            max_size=4,
        ),
    },
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_whatever_a_server_answers_is_understood_or_refused(answer):
    try:
        completion = completion_of(answer)
        scores_of(completion, ("yes", "no"))
    except UnusableLanguageModel:
        return


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=12), st.lists(TOKENS, max_size=5))
def test_steps_join_to_the_text_or_there_are_none(text, tokens):
    choice = {"message": {"content": text}, "logprobs": {"content": tokens}}
    try:
        given_back = generated_of(completion_of({"choices": [choice]}), Ask((), 9, alternatives=2))
    except UnusableLanguageModel:
        return
    assert given_back.text == text
    assert "".join(step.text for step in given_back.steps) in {text, ""}
    assert all(log <= 0.03 for step in given_back.steps for log in step.alternatives.values())


@settings(max_examples=80, deadline=None)
@given(
    st.builds(
        lambda a, b: json.dumps({"a": a, "b": b}),
        st.sampled_from([True, False, "uncertain"]),
        st.lists(st.integers(1, 3), max_size=2),
    ),
    st.integers(0, 40),
    st.text(max_size=6),
)
def test_what_is_kept_of_a_form_is_its_beginning_and_complete_only_where_valid(form, cut, junk):
    text = form[:cut] + junk
    kept, complete = kept_to(FORM, text)
    assert text.startswith(kept)
    assert kept_to(FORM, form) == (form, True)
    if complete:
        found = json.loads(text)
        assert list(found) == ["a", "b"]
