"""What a model server's answer means: scores of choices, and generated texts.

The form is that of chat completions with ``logprobs``. A server is believed nothing: answers are
checked for their form, for numbers that are no probabilities, and against each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labeling.llm.interface import (
    Ask,
    BoundedScores,
    Generated,
    Scores,
    Step,
    UnansweredReport,
    UnusableLanguageModel,
)
from labeling.llm.json_text import kept_to

NO_LOGPROBS = (
    "the model server gives no log-probabilities, by which answers are scored. vLLM gives them; "
    "llama.cpp's llama-server since the end of 2024; python -m llama_cpp.server with --logits_all "
    "true; Ollama since 0.12.11. Where the server cannot, take backend = transformers"
)

_IMPOSSIBLE = -1000.0  # servers write -9999 or -Infinity for what cannot be
_ROUNDING = 0.02  # by which probabilities may exceed one
_BLANKS = str.maketrans({"\u2581": " ", "\u0120": " ", "\u010a": "\n"})


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)


class Alternative(_Form):
    """A token that could stand somewhere, by its text, and its natural log-probability."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None


class Token(Alternative):
    """A generated token, with the likeliest that could stand in its place."""

    top_logprobs: tuple[Alternative, ...] | None = None


class _Logprobs(_Form):
    content: tuple[Token, ...] | None = None


class _Message(_Form):
    content: str | None = None


class _Choice(_Form):
    message: _Message
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _Usage(_Form):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class Completion(_Form):
    """An answer to a chat."""

    choices: tuple[_Choice, ...] = Field(min_length=1)
    model: str = ""
    system_fingerprint: str | None = None
    usage: _Usage | None = None

    @property
    def text(self) -> str:
        """Return the generated text."""
        return self.choices[0].message.content or ""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Return the generated tokens with their alternatives; empty where none are given."""
        logprobs = self.choices[0].logprobs
        return (logprobs.content or ()) if logprobs is not None else ()


def completion_of(answer: Any) -> Completion:
    """Return an answer in its form.

    Raises:
        UnusableLanguageModel: it has another.
    """
    try:
        return Completion.model_validate(answer)
    except (ValidationError, RecursionError):
        raise UnusableLanguageModel(
            "the model server's answer is not a chat completion: is url OpenAI-compatible?"
        ) from None


def listed(token: Token) -> dict[str, float]:
    """Return what could stand in a token's place: log-probability by text, checked.

    Tokens of one text are added up; those that cannot be are left out.

    Raises:
        UnusableLanguageModel: the numbers are no log-probabilities.
    """
    alternatives: Sequence[Alternative] = token.top_logprobs or ()
    found: dict[str, float] = {}
    for each in alternatives:
        if math.isnan(each.logprob) or each.logprob > _ROUNDING:
            raise UnusableLanguageModel("the model server's log-probabilities are not such numbers")
        if each.logprob > _IMPOSSIBLE:
            found[each.token] = _sum([found.get(each.token, -math.inf), each.logprob])
    if sum(map(math.exp, found.values())) > 1.0 + _ROUNDING:
        raise UnusableLanguageModel("the model server's probabilities exceed one")
    return found


def scores_of(completion: Completion, choices: Sequence[str]) -> Scores:
    """Return the log-probability of each choice as the first token of an answer.

    A choice has spellings by case, if it is longer than a character, and with a leading blank;
    they are added up. One that is not listed gets the most that it can have had, and the scores
    are ``BoundedScores``.

    Raises:
        UnusableLanguageModel: there are no log-probabilities, or no true ones.
        UnansweredReport: none of the choices is among the listed tokens.
    """
    first = next(iter(completion.tokens), None)
    alternatives = listed(first) if first is not None else {}
    if not alternatives:
        raise UnusableLanguageModel(NO_LOGPROBS)
    spelled: dict[str, list[float]] = {choice: [] for choice in choices}
    for text, log in alternatives.items():
        for choice in choices:
            if _spells(text, choice):
                spelled[choice].append(log)
    missing = [index for index, choice in enumerate(choices) if not spelled[choice]]
    if len(missing) == len(choices):
        raise UnansweredReport(
            f"none of the answers {tuple(choices)} is among the {len(alternatives)} tokens that "
            "the model server lists: the model begins its answer otherwise"
        )
    most = _least(alternatives)
    scores = tuple(_sum(spelled[choice]) if spelled[choice] else most for choice in choices)
    return BoundedScores(scores, missing) if missing else scores


def generated_of(completion: Completion, ask: Ask) -> Generated:
    """Return a generated text, held to its grammar whatever the server says it did.

    What breaks the grammar is cut off, and the text is not complete.

    Raises:
        UnusableLanguageModel: the numbers are no log-probabilities, or the grammar is unusable.
    """
    text = completion.text
    complete = completion.choices[0].finish_reason in {"stop", "eos"}
    if ask.grammar is not None:
        text, valid = kept_to(ask.grammar, text)
        complete = valid
    return Generated(text, tuple(_steps(completion, text, ask.alternatives)), complete)


def _steps(completion: Completion, text: str, alternatives: int) -> Iterator[Step]:
    """Yield the steps whose texts joined are the text; none where the tokens tell another one.

    Servers take blanks off a text, and list the token that ends it.
    """
    pieces = _pieces(completion.tokens)
    joined = "".join(pieces)
    start = joined.find(text.strip()) - (len(text) - len(text.lstrip()))
    if not text or start < 0 or joined[start : start + len(text)] != text:
        return
    place, end = 0, start + len(text)
    for token, piece in zip(completion.tokens, pieces, strict=True):
        first, last = max(place, start), min(place + len(piece), end)
        if first < last or (not piece and start < place < end):
            best = sorted(listed(token).items(), key=lambda item: -item[1])[:alternatives]
            yield Step(joined[first:last] if piece else "", dict(best))
        place += len(piece)


def _pieces(tokens: Sequence[Token]) -> list[str]:
    """Return what each token adds; a character in parts comes with its last."""
    pieces: list[str] = []
    waiting = b""
    for token in tokens:
        waiting += _raw(token)
        try:
            pieces.append(waiting.decode())
            waiting = b""
        except UnicodeDecodeError as error:
            whole = len(waiting) - error.start > 3  # no character is so long
            pieces.append(waiting.decode("utf-8", "replace") if whole else "")
            waiting = b"" if whole else waiting
    return pieces


def _raw(token: Token) -> bytes:
    given = token.bytes
    if given and all(0 <= each < 256 for each in given):
        return bytes(given)
    return token.token.encode("utf-8", "replace")


def _spells(token: str, choice: str) -> bool:
    text = token.translate(_BLANKS)
    text = text[1:] if text[:1].isspace() else text
    if len(choice) == 1:
        return text == choice
    return text in {choice, choice.lower(), choice.capitalize(), choice.upper()}


def _least(alternatives: Mapping[str, float]) -> float:
    """Return the most that a token outside the list has: the least listed, or what is left."""
    left = max(1.0 - sum(map(math.exp, alternatives.values())), 1e-9)
    return min(min(alternatives.values()), math.log(left))


def _sum(logs: Sequence[float]) -> float:
    top = max(logs)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(log - top) for log in logs))
