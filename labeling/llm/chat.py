"""A model's chat format: what stands around a report, around turns, and where the answer begins.

The template of the model is rendered with placeholders only, so it never sees a report; and text
of a report or a question is encoded so that no special token is recognised in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from labeling.llm.interface import Reading, Stem, UnusableLanguageModel

_REPORT = "\ue000R\ue000"  # private use: never in a template
_ROLE_MARKERS = frozenset({"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"})


@dataclass(frozen=True)
class Frame:
    """Token ids of a chat: before and after the report, and after each turn that follows it."""

    before_report: tuple[int, ...]
    after_report: tuple[int, ...]
    after_turn: tuple[tuple[int, ...], ...]


class ChatFormat:
    """Turns readings and turns into token ids by a tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.size = len(tokenizer)
        added = tokenizer.get_added_vocab()
        special = frozenset({*tokenizer.all_special_tokens, *map(str, added)})
        self.markers: frozenset[str] = special | _ROLE_MARKERS
        self._special = {*tokenizer.all_special_ids, *added.values()} - {tokenizer.unk_token_id}
        self.stops = frozenset(self._special | {tokenizer.eos_token_id} - {None})
        self.frame = lru_cache(maxsize=64)(self._frame)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text in which no special token is recognised."""
        if not text:
            return []
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return [token for token in ids if token not in self._special]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens as it stands, without special ones."""
        return str(
            self.tokenizer.decode(
                list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def decode_each(self, tokens: Sequence[int]) -> list[str]:
        """Return what each token adds to the text; a character in parts comes with its last."""
        texts: list[str] = []
        whole = ""
        for count in range(1, len(tokens) + 1):
            longer = self.decode(tokens[:count])
            if longer.endswith("\ufffd") and count < len(tokens):
                longer = whole
            texts.append(longer[len(whole) :])
            whole = longer
        return texts

    def prefix(self, reading: Reading) -> list[int]:
        """Return the tokens up to the end of what all questions share."""
        frame = self.frame(reading.system, reading.before, reading.after, 1)
        return [*frame.before_report, *self.encode(reading.report), *frame.after_report]

    def head(self, reading: Reading) -> tuple[int, ...]:
        """Return the tokens before the report, which all reports share."""
        return self.frame(reading.system, reading.before, reading.after, 1).before_report

    def turns(self, reading: Reading, turns: Sequence[str]) -> list[int]:
        """Return the tokens of what is said after the shared prefix; the last turn stays open.

        Raises:
            UnusableLanguageModel: an even number of turns.
        """
        after = self._after_turns(reading, len(turns))
        tokens: list[int] = []
        for turn, glue in zip(turns, (*after[:-1], ()), strict=True):
            tokens += [*self.encode(turn), *glue]
        return tokens

    def paths(self, reading: Reading, stems: Sequence[Stem]) -> list[list[int]]:
        """Return for each question of each stem the tokens after the prefix, up to the answer."""
        paths: list[list[int]] = []
        for stem in stems:
            turns = self.turns(reading, stem.turns)
            closing = self.closing(reading, len(stem.turns))
            paths += [turns + self.encode(each.text) + closing for each in stem.questions]
        return paths

    def closing(self, reading: Reading, turns: int) -> list[int]:
        """Return the tokens between the last turn of the user and the answer."""
        return [] if reading.at_once else list(self._after_turns(reading, turns)[-1])

    def _after_turns(self, reading: Reading, turns: int) -> tuple[tuple[int, ...], ...]:
        if turns % 2 == 0:
            raise UnusableLanguageModel("the turns after a report do not end with the user's")
        return self.frame(reading.system, reading.before, reading.after, turns).after_turn

    def choice_ids(self, choice: str) -> list[int]:
        """Return the single tokens that spell a choice: by case, and with a leading blank.

        A choice of one character keeps its case, since "A" is an answer and "a" is a word.

        Raises:
            UnusableLanguageModel: no spelling is one token.
        """
        cases = {choice}
        if len(choice) > 1:
            cases |= {choice.lower(), choice.capitalize(), choice.upper()}
        ids: set[int] = set()
        for case in sorted(cases):
            for text in (case, f" {case}"):
                encoded = self.tokenizer.encode(text, add_special_tokens=False)
                ids.update(encoded if len(encoded) == 1 else ())
            # SentencePiece marks a blank in its vocabulary, and encodes it as a token apart.
            for piece in (case, f"\u2581{case}"):
                found = self.tokenizer.convert_tokens_to_ids(piece)
                ids.update(() if found is None else (found,))
        ids -= self._special | {self.tokenizer.unk_token_id}
        if not ids:
            raise UnusableLanguageModel(f"the tokenizer has no single token for {choice!r}")
        return sorted(ids)

    def _frame(self, system: str, before: str, after: str, turns: int) -> Frame:
        marks = [f"\ue000{number}\ue000" for number in range(turns)]
        text = self._render(system, f"{before}{_REPORT}{after}{marks[0]}", marks[1:])
        pieces: list[tuple[int, ...]] = []
        for mark in (_REPORT, *marks):
            piece, found, text = text.partition(mark)
            if not found:
                raise UnusableLanguageModel("the model's chat template drops a turn")
            pieces.append(tuple(self.tokenizer.encode(piece, add_special_tokens=False)))
        pieces.append(tuple(self.tokenizer.encode(text, add_special_tokens=False)))
        return Frame(self._begun(pieces[0]), pieces[1], tuple(pieces[2:]))

    def _begun(self, start: tuple[int, ...]) -> tuple[int, ...]:
        """Return the first tokens with the token that begins a text, where the model has one."""
        bos = self.tokenizer.bos_token_id
        plain = self.tokenizer.encode("x", add_special_tokens=True)
        begins = bos is not None and plain[:1] == [bos] and start[:1] != (bos,)
        return (bos, *start) if begins else start

    def _render(self, system: str, first: str, later: Sequence[str]) -> str:
        """Return a chat with placeholders, up to where the model answers."""
        if not self.tokenizer.chat_template:
            return _plain(system, first, later)
        roles = ["assistant", "user"] * (len(later) // 2)
        rest = [{"role": r, "content": c} for r, c in zip(roles, later, strict=True)]
        chats = [
            [{"role": "system", "content": system}, {"role": "user", "content": first}],
            [{"role": "user", "content": f"{system}\n\n{first}"}],  # no system role
        ]
        failure: Exception = ValueError("the template drops a message")
        for chat in chats:
            try:
                text = self.tokenizer.apply_chat_template(
                    chat + rest, tokenize=False, add_generation_prompt=True
                )
            except Exception as error:  # noqa: BLE001 - templates raise what they like
                failure = error
                continue
            if system in text and _REPORT in text:
                return str(text)
        raise UnusableLanguageModel("the model's chat template cannot be used") from failure


def _plain(system: str, first: str, later: Sequence[str]) -> str:
    """Return a chat for a model without a chat format."""
    text = f"{system}\n\n{first}\nAnswer:"
    for answer, question in zip(later[::2], later[1::2], strict=True):
        text += f" {answer}\n\n{question}\nAnswer:"
    return text
