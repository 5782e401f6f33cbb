import json
import math

import pytest

from labeling.llm.conversation import harmless, messages
from labeling.llm.interface import (
    Ask,
    BoundedScores,
    Grammar,
    Reading,
    UnansweredReport,
    UnusableLanguageModel,
    is_bound,
    margin,
)
from labeling.llm.json_text import kept_to
from labeling.llm.server_answers import completion_of, generated_of, scores_of

FORM = Grammar(
    {
        "type": "object",
        "properties": {"a": {"enum": [True, "uncertain"]}, "b": {"enum": [1, 2]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
)


def answer_of(first, text="x", **token):
    listed = [{"token": t, "logprob": p} for t, p in first.items()]
    content = [{"token": text, "logprob": -0.1, "top_logprobs": listed, **token}]
    choice = {"message": {"content": text}, "logprobs": {"content": content}}
    return completion_of({"choices": [choice], "model": "m"})


def text_of(pieces, content=None, finish="stop"):
    tokens = []
    for piece in pieces:
        text, raw = (piece, piece.encode()) if isinstance(piece, str) else ("\ufffd", piece)
        token = {"token": text, "logprob": -0.1}
        tokens.append({**token, "bytes": list(raw), "top_logprobs": [token]})
    whole = "".join(p for p in pieces if isinstance(p, str)) if content is None else content
    choice = {"message": {"content": whole}, "logprobs": {"content": tokens}}
    return completion_of({"choices": [{**choice, "finish_reason": finish}]})


def test_spellings_of_a_choice_are_added_up():
    answer = answer_of({"Yes": math.log(0.3), " yes": math.log(0.2), "\u0120YES": math.log(0.1),
                        "no": math.log(0.2), "nothing": math.log(0.1)})  # fmt: skip
    scores = scores_of(answer, ("yes", "no"))
    assert scores == pytest.approx((math.log(0.6), math.log(0.2)))
    assert not is_bound(scores)


def test_a_choice_of_one_character_keeps_its_case():
    answer = answer_of({"A": -0.5, "a": -1.5, "\u2581B": -2.0})
    assert scores_of(answer, ("A", "B")) == pytest.approx((-0.5, -2.0))


def test_a_choice_that_is_not_listed_gets_a_stated_bound():
    answer = answer_of({"yes": math.log(0.9), "It": math.log(0.06)})
    scores = scores_of(answer, ("yes", "no"))
    assert isinstance(scores, BoundedScores)
    assert scores.unlisted == {1}
    assert is_bound(scores)
    assert math.exp(scores[1]) == pytest.approx(0.04)
    assert margin(scores) == pytest.approx(math.log(0.9 / 0.04))


def test_a_bound_on_a_third_choice_leaves_the_margin_exact():
    scores = scores_of(answer_of({"A": -0.5, "B": -1.5}), ("A", "B", "C"))
    assert scores.unlisted == {2}
    assert not is_bound(scores)


def test_without_any_choice_listed_there_are_no_scores():
    with pytest.raises(UnansweredReport, match="none of the answers"):
        scores_of(answer_of({"<think>": -0.01, "Well": -5.0}), ("yes", "no"))


def test_missing_log_probabilities_say_what_to_switch_on():
    for answer in (
        completion_of({"choices": [{"message": {"content": "yes"}}]}),
        completion_of({"choices": [{"message": {"content": "yes"}, "logprobs": {"content": []}}]}),
        answer_of({}),
        answer_of({"yes": -9999.0, "no": -math.inf}),
    ):
        with pytest.raises(UnusableLanguageModel, match=r"vLLM.*--logits_all true.*Ollama"):
            scores_of(answer, ("yes", "no"))


@pytest.mark.parametrize(
    "first", [{"yes": 0.5}, {"yes": math.nan}, {"yes": -0.1, "no": -0.1}, {"yes": math.inf}]
)
def test_numbers_that_are_no_log_probabilities_are_refused(first):
    with pytest.raises(UnusableLanguageModel):
        scores_of(answer_of(first), ("yes", "no"))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {}, "logprobs": {"content": [{"token": "a"}]}}]},
        {"error": {"message": "a report's words"}},
    ],
)
def test_another_form_of_answer_is_refused_and_not_quoted(answer):
    with pytest.raises(UnusableLanguageModel, match="OpenAI-compatible") as error:
        completion_of(answer)
    assert "words" not in str(error.value)


def test_steps_join_to_the_text_whatever_blanks_and_ends_the_server_adds():
    answer = text_of([" Two", " words", "<|im_end|>"], content="Two words")
    given = generated_of(answer, Ask((), 9, alternatives=3))
    assert given.text == "Two words"
    assert [step.text for step in given.steps] == ["Two", " words"]
    assert given.complete


def test_a_character_in_parts_comes_with_its_last():
    moon = "🌙".encode()
    given = generated_of(text_of(["a", moon[:2], moon[2:], "b"], content="a🌙b"), Ask((), 9))
    assert [step.text for step in given.steps] == ["a", "", "🌙", "b"]


def test_tokens_that_tell_another_text_are_no_steps():
    given = generated_of(text_of(["other"], content="text"), Ask((), 9, alternatives=1))
    assert (given.text, given.steps) == ("text", ())


def test_a_text_that_was_cut_off_is_not_complete():
    assert not generated_of(text_of(["a"], finish="length"), Ask((), 1)).complete


@pytest.mark.parametrize(
    ("text", "kept", "complete"),
    [
        ('{"a": true, "b": 2}', '{"a": true, "b": 2}', True),
        ('\n{ "a":true ,\n"b": 1}\n', '\n{ "a":true ,\n"b": 1}', True),
        ('{"a": true, "b": 3}', '{"a": true, "b": ', False),
        ('{"b": 1, "a": true}', '{"', False),
        ('{"a": true', '{"a": true', False),
        ('{"a": true, "b": 1} and more', '{"a": true, "b": 1}', False),
        ("I cannot", "", False),
        ("", "", False),
    ],
)
def test_what_breaks_the_grammar_is_cut_off_and_said(text, kept, complete):
    found, whole = kept_to(FORM, text)
    assert (found.rstrip(), whole) == (kept.rstrip(), complete)


def test_a_text_held_to_its_grammar_keeps_the_steps_of_what_is_left():
    pieces = ['{"', "a", '": ', "true", ", ", '"b": ', "3}"]
    given = generated_of(text_of(pieces), Ask((), 99, grammar=FORM, alternatives=2))
    assert given.text == '{"a": true, "b": '
    assert "".join(step.text for step in given.steps) == given.text
    assert not given.complete


def test_an_unusable_grammar_is_said():
    with pytest.raises(UnusableLanguageModel, match="unusable grammar"):
        kept_to(Grammar({"type": "nonsense"}), "{}")


def test_messages_are_the_turns_with_the_report_first():
    reading = Reading("system", "<", "report", ">")
    chat = messages(reading, ("summarise", "a summary", "define"), " ask")
    assert [each["role"] for each in chat] == ["system", "user", "assistant", "user"]
    assert [each["content"] for each in chat[1:]] == [
        "<report>summarise",
        "a summary",
        "define ask",
    ]
    merged = messages(reading, ("question",), "?", merged=True)
    assert merged == [{"role": "user", "content": "system\n\n<report>question?"}]
    with pytest.raises(UnusableLanguageModel):
        messages(reading, ("a", "b"))


def test_texts_that_look_like_special_tokens_never_reach_a_server():
    hostile = "a<|new_role|>b <\uff5cUser\uff5c> <|a<|b|>c|> <|im_start|>"
    assert not any(mark in harmless(hostile) for mark in ("<|", "|>", "\uff5c"))
    chat = messages(Reading("s", "", hostile, ""), ("q", hostile, "r"))
    assert "<|" not in json.dumps(chat)
    assert harmless("FEV1 <70 | 5>3") == "FEV1 <70 | 5>3"
