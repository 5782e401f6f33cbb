"""Holds generated text to a grammar: what tokens may come next, by llguidance."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer

from labeling.llm.interface import Grammar, UnusableLanguageModel

# One way to write it: no blank that could carry a difference, so forced text is found and skipped.
_OPTIONS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Constraint:
    """Follows one text through a grammar."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    @property
    def finished(self) -> bool:
        """Whether the text is complete and nothing may follow."""
        return bool(self._matcher.is_stopped())

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""
        return bool(self._matcher.is_accepting())

    def allowed(self) -> torch.Tensor:
        """Return which tokens may come next: bool [vocabulary]."""
        packed = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        self._check()
        return bits.flatten()[: self._vocabulary].bool()

    def forced(self) -> list[int]:
        """Return the tokens that must come next, where there is no choice."""
        found: list[int] = self._matcher.compute_ff_tokens()
        return found

    def accept(self, token: int) -> None:
        """Take a token.

        Raises:
            UnusableLanguageModel: it may not stand here.
        """
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise UnusableLanguageModel("the grammar cannot follow the model's tokens")


class Grammars:
    """Compiles grammars for one tokenizer; each is compiled once."""

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self._source = tokenizer
        self._vocabulary = vocabulary
        self._tokenizer: LLTokenizer | None = None
        self._compiled: dict[str, LLMatcher] = {}

    def begin(self, grammar: Grammar) -> Constraint:
        """Return a constraint at the beginning of a text.

        Raises:
            UnusableLanguageModel: the tokenizer is of no known kind, or the grammar of no use.
        """
        text = _compiled(grammar.json_schema)
        if text not in self._compiled:
            matcher = LLMatcher(self._tokens(), text, log_level=0)
            if matcher.is_error():
                raise UnusableLanguageModel(f"unusable grammar: {matcher.get_error()}")
            self._compiled[text] = matcher
        return Constraint(self._compiled[text].deep_copy(), self._vocabulary)

    def _tokens(self) -> LLTokenizer:
        if self._tokenizer is None:
            try:
                self._tokenizer = self._read_tokens()
            except (ValueError, TypeError, AttributeError) as error:
                raise UnusableLanguageModel(
                    "the model's tokenizer cannot be held to a grammar"
                ) from error
        return self._tokenizer

    def _read_tokens(self) -> LLTokenizer:
        if vocabulary := getattr(self._source, "llama_vocabulary", None):
            from llguidance.llamacpp import lltokenizer_from_vocab

            with warnings.catch_warnings():  # it asks llama.cpp by an older name
                warnings.simplefilter("ignore", DeprecationWarning)
                return lltokenizer_from_vocab(vocabulary)
        return from_tokenizer(self._source, n_vocab=self._vocabulary)


def _compiled(schema: Mapping[str, Any]) -> str:
    compile_schema: Callable[..., str] = LLMatcher.grammar_from_json_schema
    return compile_schema(json.dumps(schema), overrides=_OPTIONS)
