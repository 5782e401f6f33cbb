"""What of a language model works, tried with a harmless text; no report is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from labeling.llm.interface import (
    YES_NO,
    Ask,
    GenerateRequest,
    Grammar,
    LanguageModel,
    Question,
    ScoreRequest,
    Scores,
    Stem,
    UnusableLanguageModel,
    is_bound,
    margin,
)
from labeling.llm.json_text import kept_to
from labeling.llm.manner import PROBE

WORKS = "yes"

_TRUE, _FALSE = "Do ferries cross the bay?", "Is the lighthouse open to visitors?"
_TOKENS = 48
_FORM = Grammar(
    {
        "type": "object",
        "properties": {
            "ferries_in_winter": {"enum": [True, False, "uncertain"]},
            "side_of_the_town": {"enum": ["north", "south", "east", "west"]},
        },
        "required": ["ferries_in_winter", "side_of_the_town"],
        "additionalProperties": False,
    }
)


def check(model: LanguageModel, clock: Callable[[], float] = time.monotonic) -> dict[str, Any]:
    """Return what works: scores, repeatability, grammar, tokens per second, digest and place.

    Args:
        model: opened.
        clock: seconds that only grow.

    Raises:
        ModelUnavailable: a server went away.
    """
    found: dict[str, Any] = {"model": model.name, "digest": model.digest, **_place(model)}
    found |= _tried("scores", lambda: _scores(model))
    found |= _tried("grammar", lambda: _grammar(model))
    found |= _tried("generation", lambda: _speed(model, clock))
    return found


def works(found: dict[str, Any]) -> bool:
    """Tell whether at least one kind of labeler can use the model."""
    return WORKS in (found["scores"], found["grammar"])


def _tried(name: str, attempt: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {name: WORKS} | attempt()
    except UnusableLanguageModel as error:
        return {name: f"no: {error}"}


def _place(model: LanguageModel) -> dict[str, Any]:
    from labeling.llm.server import ServerModel

    if not isinstance(model, ServerModel):
        return {"digest_of": "the weights (SHA-256)", "lies": "in this process"}
    address, served = model.address, model.served
    hidden = "encrypted" if address.scheme == "https" else "not encrypted"
    said = "" if served.context else " (assumed; the server does not say)"
    return {
        "digest_of": "what the server says of itself, not the weights",
        "lies": f"{address.place}: {address.scheme}://{address.authority} ({hidden})",
        "kind": served.owner or "unknown",
        "context": f"{model.context}{said}",
        "at_once": model.side_by_side,
        "listed_tokens": model.manner.listed,
        "counts_tokens": model.manner.bytes_per_token is not None,
        "extra_options": ", ".join(model.manner.options) or "none",
    }


def _scores(model: LanguageModel) -> dict[str, Any]:
    first, again = _asked(model), _asked(model)
    apart = max(abs(margin(a) - margin(b)) for a, b in zip(first, again, strict=True))
    right = margin(first[0]) > 0 > margin(first[1])
    bounds = " (a bound: an answer was not listed)" if any(map(is_bound, first)) else ""
    return {
        "answers_right": "both" if right else "not both: try another model",
        "margins": ", ".join(f"{margin(each):+.2f}" for each in first) + bounds,
        "asked_again_differs_by": round(apart, 4),
    }


def _asked(model: LanguageModel) -> list[Scores]:
    questions = tuple(Question(f"{text} Answer yes or no.", YES_NO) for text in (_TRUE, _FALSE))
    return model.score([ScoreRequest(PROBE, (Stem(("",), questions),))])[0][0]


def _grammar(model: LanguageModel) -> dict[str, Any]:
    words = "Answer as JSON: ferries_in_winter (true, false or uncertain), side_of_the_town."
    ask = Ask((words,), maximum_tokens=64, grammar=_FORM, alternatives=5)
    ((answer,),) = model.generate([GenerateRequest(PROBE, (ask,))])
    if not (answer.complete and kept_to(_FORM, answer.text)[1]):
        raise UnusableLanguageModel("what it writes breaks the grammar or is cut off")
    listed = any(step.alternatives for step in answer.steps)
    return {"form": answer.text, "margins_in_forms": WORKS if listed else "no"}


def _speed(model: LanguageModel, clock: Callable[[], float]) -> dict[str, Any]:
    ask = Ask(("Tell what the text says, at length.",), _TOKENS, alternatives=1)
    before = clock()
    ((answer,),) = model.generate([GenerateRequest(PROBE, (ask,))])
    seconds = max(clock() - before, 1e-6)
    written = len(answer.steps) or model.count_tokens(answer.text)
    return {"written_tokens": written, "tokens_per_second": round(written / seconds, 1)}
