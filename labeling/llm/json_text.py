"""How much of a text keeps to a JSON Schema: what a server wrote is checked here, by llguidance."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache

from llguidance import LLMatcher, LLTokenizer

from labeling.llm.interface import Grammar, UnusableLanguageModel


def kept_to(grammar: Grammar, text: str) -> tuple[str, bool]:
    """Return the longest beginning of a text that the grammar allows, and whether it is complete.

    Blanks between JSON's signs are free; keys come in the schema's order. Blanks around the whole
    text do not count against it.

    Raises:
        UnusableLanguageModel: the grammar cannot be used.
    """
    body = text.rstrip()
    start = len(body) - len(body.lstrip())
    matcher = _matcher(json.dumps(grammar.json_schema)).deep_copy()
    given = body[start:].encode("utf-8", "replace")
    taken = matcher.try_consume_tokens(list(given))
    kept = given[:taken].decode("utf-8", "ignore")
    complete = taken == len(given) and bool(given) and bool(matcher.is_accepting())
    return body[:start] + kept, complete


@lru_cache(maxsize=64)
def _matcher(schema: str) -> LLMatcher:
    compile_schema: Callable[..., str] = LLMatcher.grammar_from_json_schema
    matcher = LLMatcher(_bytes(), compile_schema(schema), log_level=0)
    if matcher.is_error():
        raise UnusableLanguageModel(f"unusable grammar: {matcher.get_error()}")
    return matcher


@lru_cache(maxsize=1)
def _bytes() -> LLTokenizer:
    return LLTokenizer("byte")
