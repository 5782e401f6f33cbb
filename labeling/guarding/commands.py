"""Tells words that command a reader from words about a patient, by what they speak of.

An order to whoever reads speaks of orders, of machines, of questions and answers, of the values
that it wants; a report speaks of organs. Each such word scores, over all languages at once since
an attacker chooses his; what only machines write to each other (turn markers, JSON, encoded
blobs) is enough by itself. No word of a finding is looked up, so any schema is served.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from labeling.cues import one_of
from labeling.errors import Permanent
from labeling.guarding.visible import visible
from labeling.located_yaml import read_yaml

ENOUGH = 3
"""Points from which on a text is a command: a strong word and another, be it a weak one."""

STRONG = 2
"""Points of a word that hardly stands in a report."""

_FORM = 2  # of how words are counted
_LISTS = ("orders", "machines", "tasks", "roles", "answers", "values", "scopes", "addressees")
_WEAK = {"machines": 2, "values": 1, "scopes": 1, "addressees": 1}

_MACHINE_TEXT = re.compile(
    r"<\||\|>|</\s*[a-z]|\[/?(?:inst|system_prompt|tool_calls|tool_results)\]|<</?sys>>|```"
    r"|</?(?:s|bos|eos|pad|unk|think|tool_call|tool_response|start_of_turn|end_of_turn)>"
    r"|<(?:system|user|assistant|instructions?|prompt|script|labels?|answers?)\b[^<>\n]{0,80}>"
    r"|[{\[,]\s*['\"][^'\"\n]{1,60}['\"]\s*:|[{]\s*\w+\s*:"
    r"|(?:\b\w[ ._*-]{1,3}){14,}",  # spelled letter by letter
    re.IGNORECASE,
)
_BLOB = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_CHANGES = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=\d)(?=[a-zA-Z])|(?<=[a-zA-Z])(?=\d)")
_BLOB_CHANGES = 4
_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?\n]+|$)")
_BEFORE_ROLE = re.compile(r"(?<!\S)\S+[ \t]+(?=[A-Z]\w{1,14}\s?\d{0,2}\s?[:=])")
_LETTERED = re.compile(r"(?<![\w@$])(?=[\w@$]*[a-z])[\w@$]*[013457@$][\w@$]*")
_DIGITS = str.maketrans("013457@$", "oieastas")


class InvalidCommandWords(Permanent):
    """A list of words cannot be used; the message names file, line and key."""


@dataclass(frozen=True)
class Score:
    """Points of a text: of its strong words, and of all."""

    strong: int
    total: int

    @property
    def is_command(self) -> bool:
        """Whether the text commands, read by itself."""
        return self.strong >= STRONG and self.total >= ENOUGH


NOTHING = Score(0, 0)


@dataclass(frozen=True)
class CommandWords:
    """The words of one language, compiled.

    Args:
        orders: tell a reader what to do; ``tasks`` speak of questions, answers and instructions.
            These are strong.
        roles: open a line of a dialogue ("Answer:"); strong.
        answers: three in a row are no report, and one alone beside a command belongs to it.
        machines: readers that are none of flesh, of which a report may speak, too ("the AI tool
            marked a nodule"); ``values`` what is to be answered, ``scopes`` of how much,
            ``addressees`` by whom. By these alone nothing is a command; each kind counts once.
    """

    strong: re.Pattern[str]
    roles: re.Pattern[str]
    answers: re.Pattern[str]
    answer_alone: re.Pattern[str]
    weak: tuple[tuple[re.Pattern[str], int], ...]

    def score(self, text: str) -> Score:
        """Return the points of a text in lower case without accents."""
        if self.answers.search(text):
            return Score(ENOUGH, ENOUGH)
        if self.answer_alone.fullmatch(text):
            return Score(0, STRONG)
        rest, roles = self.roles.subn(" ", text)
        rest, words = self.strong.subn(" ", rest)
        strong = STRONG * (roles + words)
        return Score(strong, strong + sum(n for each, n in self.weak if each.search(rest)))


def score(text: str) -> Score:
    """Return the points of a text, read as it stands and as it may be disguised."""
    if is_machine_text(text):
        return Score(ENOUGH, ENOUGH)
    plain = _plain(text)
    return max(
        (words.score(each) for each in _readings(plain) for words in command_words()),
        key=lambda each: (each.is_command, each.total),
    )


def without_commands(text: str) -> str:
    """Return a text without the lines and sentences that command by themselves, to be looked at."""
    return "".join(piece for piece in _SENTENCE.findall(text) if not score(piece).is_command)


def is_machine_text(text: str) -> bool:
    """Tell whether a text holds what machines write to each other: markers, objects, blobs."""
    shown = visible(text)
    return _MACHINE_TEXT.search(shown) is not None or any(map(_is_blob, _BLOB.findall(shown)))


def is_answer(word: str) -> bool:
    """Tell whether a word is an answer by itself: "yes"."""
    plain = _plain(word)
    return any(each.answer_alone.fullmatch(plain) for each in command_words())


def speaks_for_another(text: str) -> bool:
    """Tell whether a text takes a part in a dialogue: "Answer: ...", a turn, an object."""
    plain = _plain(text)
    return is_machine_text(text) or any(each.roles.search(plain) for each in command_words())


@lru_cache(maxsize=1)
def command_words() -> tuple[CommandWords, ...]:
    """Return the words of all languages.

    Raises:
        InvalidCommandWords: a file cannot be used.
    """
    return tuple(_read(name, content) for name, content in _files())


@lru_cache(maxsize=1)
def words_digest() -> str:
    """Return the SHA-256 over the words and the form by which they are counted."""
    digest = hashlib.sha256(str(_FORM).encode())
    for name, content in _files():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _files() -> list[tuple[str, bytes]]:
    folder = resources.files("labeling.guarding") / "words"
    files = [each for each in folder.iterdir() if each.name.endswith(".yaml")]
    return sorted((each.name, each.read_bytes()) for each in files)


def _read(name: str, content: bytes) -> CommandWords:
    fields = read_yaml(content, name, InvalidCommandWords).fields(set(_LISTS))
    lists = {key: tuple(item.text() for item in fields[key].items()) for key in _LISTS}
    try:
        return _compiled(lists)
    except re.error as error:
        raise InvalidCommandWords(f"{name}: not a regular expression: {error.msg}") from error


def _compiled(lists: dict[str, tuple[str, ...]]) -> CommandWords:
    answer = one_of(lists["answers"])
    return CommandWords(
        strong=_words(lists[key] for key in ("orders", "tasks")),
        roles=re.compile(
            rf"(?:^|(?<=[.?!;,|\n]))[^\w\n]{{0,8}}{one_of(lists['roles'])}\s*\d{{0,2}}\s*[:=]",
            re.MULTILINE,
        ),
        answer_alone=re.compile(rf"[\W_]*{answer}[\W_]*"),
        answers=re.compile(rf"\b{answer}(?:[\W_]+{answer}){{2,}}\b"),
        weak=tuple((_words([lists[key]]), points) for key, points in _WEAK.items()),
    )


def _words(lists: Iterable[tuple[str, ...]]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){one_of(tuple(each for some in lists for each in some))}(?!\w)")


def _readings(plain: str) -> Iterable[str]:
    """Yield a text as it stands and, where digits stand in words, with the letters they mimic."""
    yield plain
    undone = _LETTERED.sub(lambda match: match.group().translate(_DIGITS), plain)
    if undone != plain:
        yield undone


def _plain(text: str) -> str:
    """Return a text in lower case without accents; a role amid a line begins a line."""
    return _without_accents(_BEFORE_ROLE.sub(_new_line, visible(text)).lower())


def _new_line(match: re.Match[str]) -> str:
    word = match.group().rstrip()
    # "Ventricular System:" is a name, "no abnormality SYSTEM:" is not.
    return match.group() if word.isalpha() and word[0].isupper() else f"{word}\n"


def _without_accents(text: str) -> str:
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFD", text.replace("’", "'"))
    return "".join(char for char in parts if unicodedata.category(char) != "Mn")


def _is_blob(run: str) -> bool:
    """Tell whether a run of signs changes its kind as often as encoded bytes do."""
    return len(_CHANGES.findall(run)) >= _BLOB_CHANGES
