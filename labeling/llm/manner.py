"""How a model server wants to be asked, found out with harmless questions and no report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from labeling.llm.conversation import messages
from labeling.llm.interface import (
    YES_NO,
    Grammar,
    Reading,
    Scores,
    UnansweredReport,
    UnusableLanguageModel,
)
from labeling.llm.json_text import kept_to
from labeling.llm.server_answers import NO_LOGPROBS, Completion, listed, scores_of
from labeling.llm.transport import Refused

NO_GRAMMAR = (
    "the model server holds no text to a JSON Schema, neither by response_format nor by its own "
    "options: newer versions of vLLM, llama.cpp and Ollama do; or take backend = transformers"
)

AFTER_SAMPLING = (
    "the model server tells probabilities after sampling, which are all 0 or 1: let it tell those "
    "before (vLLM: --logprobs-mode raw_logprobs; llama.cpp: post_sampling_probs false)"
)

PROBE = Reading(
    "You read a short text and answer one question about it.",
    "",
    "The harbour lies on the south side of the town. In summer two ferries cross the bay every "
    "hour, and in winter there is one in the morning and one in the evening. Next to the harbour "
    "stands an old lighthouse, which has been closed to visitors since the stairs were found to "
    "be unsafe. The town hopes to open it again when enough money has been given for repairs.",
    "\n\n",
)
"""What is read when nothing of a patient may be."""

PROBE_QUESTION = "Do ferries cross the bay? Answer yes or no."

_LISTS = (100, 20, 10, 5)  # tokens a server may list; vLLM and Ollama give 20, llama.cpp any
_SURE = -1e-6  # a log-probability that no model has of a free choice
_FREE_QUESTION = "Write one word that comes to your mind."
_PLAIN: Mapping[str, Any] = {"temperature": 0}
_SAMPLED: Mapping[str, Any] = {"temperature": 1, "top_p": 1}
_QUIET: tuple[Mapping[str, Any], ...] = (
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"reasoning_effort": "none"},
)
"""Options that keep a reasoning model from thinking aloud before it answers."""

_PROBE_FORM = Grammar(
    {
        "type": "object",
        "properties": {"sign_7": {"enum": ["blue-41", "green-42"]}},
        "required": ["sign_7"],
        "additionalProperties": False,
    }
)

Send = Callable[[Mapping[str, Any], int], Completion]
"""Asks the server; a body without the model's name, and the bytes that an answer may have."""


@dataclass(frozen=True)
class Manner:
    """How to ask.

    Args:
        merged: without the system role.
        listed: how many likely tokens the server lists.
        options: sent with every request.
        scoring: sent with requests whose answer is scored.
        fault: why answers cannot be scored; empty: they can.
        bytes_per_token: of a prompt, as the server counts; None: its counts cannot be believed.
        fingerprint, model: what the server said with its first answer.
        repeats: how far the scores of one question, asked twice, lay apart.
    """

    merged: bool = False
    listed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    scoring: Mapping[str, Any] = field(default_factory=lambda: dict(_PLAIN))
    fault: str = ""
    bytes_per_token: float | None = None
    fingerprint: str | None = None
    model: str = ""
    repeats: float | None = None

    def score_body(self, reading: Reading, turns: tuple[str, ...], ending: str) -> dict[str, Any]:
        """Return the request whose first token is scored."""
        return {
            "messages": messages(reading, turns, ending, merged=self.merged),
            "max_tokens": 1,
            **({"logprobs": True, "top_logprobs": self.listed} if self.listed else {}),
            **self.scoring,
            **self.options,
        }


def manner_of(send: Send) -> Manner:
    """Return how a server wants to be asked.

    Raises:
        UnusableLanguageModel: it takes no chat at all.
        ModelUnavailable: it is away.
    """
    manner, answer = _first_taken(send)
    manner = replace(manner, fingerprint=answer.system_fingerprint, model=answer.model)
    if not manner.listed or not (answer.tokens and listed(answer.tokens[0])):
        return _counted(replace(manner, listed=0, fault=NO_LOGPROBS), answer, answer)
    manner = _scored(send, _quiet(send, manner, answer))
    answer, again = send(_probe(manner), 0), send(_probe(manner), 0)
    return _counted(replace(manner, repeats=_apart(answer, again)), answer, again)


def held_to_schema(send: Send, manner: Manner) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return what turns a JSON Schema into the option by which the server keeps to it.

    Raises:
        UnusableLanguageModel: no known option works.
    """
    for option in _SCHEMA_OPTIONS:
        body = {
            "messages": messages(PROBE, ("What colour is the sky?",), merged=manner.merged),
            "max_tokens": 48,
            **_PLAIN,
            **manner.options,
            **option(_PROBE_FORM.json_schema),
        }
        try:
            answer = send(body, 48)
        except Refused:
            continue
        if kept_to(_PROBE_FORM, answer.text)[1]:
            return option
    raise UnusableLanguageModel(NO_GRAMMAR)


def prompt_bytes(body: Mapping[str, Any]) -> int:
    """Return the length of a prompt, for which runs of one sign count little."""
    total = 0
    for message in body["messages"]:
        last, run = "", 0
        for char in message["content"]:
            run = run + 1 if char == last else 1
            last = char
            total += len(char.encode("utf-8", "replace")) if run <= 2 else 0
    return total


def _first_taken(send: Send) -> tuple[Manner, Completion]:
    """Return the first way of asking that the server does not refuse."""
    refusal: Refused | None = None
    for count in (*_LISTS, 0):
        for merged in (False, True):
            manner = Manner(merged=merged, listed=count)
            try:
                return manner, send(_probe(manner), 0)
            except Refused as error:
                if error.status in {401, 403, 404}:
                    raise
                refusal = error
    raise UnusableLanguageModel(f"{refusal}, even for a harmless question")


def _quiet(send: Send, manner: Manner, answer: Completion) -> Manner:
    """Return the manner with which the first token answers, where there is one."""
    if _choices(answer) is not None:
        return manner
    for options in _QUIET:
        tried = replace(manner, options=options)
        try:
            if _choices(send(_probe(tried), 0)) is not None:
                return tried
        except Refused:
            continue
    return manner


def _scored(send: Send, manner: Manner) -> Manner:
    for scoring in (_PLAIN, _SAMPLED):
        tried = replace(manner, scoring=scoring)
        if not all(_certain(answer) for answer in _sure_answers(send, tried)):
            return tried
    return replace(manner, fault=AFTER_SAMPLING)


def _sure_answers(send: Send, manner: Manner) -> Iterator[Completion]:
    yield send(_probe(manner), 0)
    yield send(manner.score_body(PROBE, (_FREE_QUESTION,), ""), 0)


def _certain(answer: Completion) -> bool:
    found = listed(answer.tokens[0]) if answer.tokens else {}
    return not found or max(found.values()) > _SURE


def _counted(manner: Manner, answer: Completion, again: Completion) -> Manner:
    """Return the manner with what a token is, unless the server counts only what it had to read."""
    counts = [each.usage.prompt_tokens if each.usage else 0 for each in (answer, again)]
    if min(counts) < 0.5 * max(counts) or not min(counts):
        return manner
    return replace(manner, bytes_per_token=prompt_bytes(_probe(manner)) / max(counts))


def _probe(manner: Manner) -> dict[str, Any]:
    return manner.score_body(PROBE, (PROBE_QUESTION,), "")


def _choices(answer: Completion) -> Scores | None:
    try:
        return scores_of(answer, YES_NO)
    except UnansweredReport:
        return None


def _apart(one: Completion, other: Completion) -> float | None:
    first, second = _choices(one), _choices(other)
    if first is None or second is None:
        return None
    return max(math.fabs(a - b) for a, b in zip(first, second, strict=True))


def _named_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    form = {"name": "form", "strict": True, "schema": dict(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


def _object_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_object", "schema": dict(schema)}}


def _structured_outputs(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"structured_outputs": {"json": dict(schema)}}


def _guided_json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"guided_json": dict(schema)}


def _json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"json_schema": dict(schema)}


def _format(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": dict(schema)}


_SCHEMA_OPTIONS = (
    _named_schema,  # OpenAI, vLLM, llama.cpp, Ollama
    _object_schema,  # llama-cpp-python, older llama.cpp
    _structured_outputs,  # vLLM's own
    _guided_json,  # older vLLM
    _json_schema,  # llama.cpp's own
    _format,  # Ollama's own
)
