"""Language packs: the words by which reports of one language are read, as data.

A pack is a folder: ``language.yaml`` (name, frequent words), ``headings.yaml`` (sections),
``cues.yaml`` (negation, hedges), ``SCHEMA.rules.yaml`` (findings of a schema, for the labeler by
rules) and a file of prompts for each labeler that asks a language model. The first two are needed;
a labeler without its words in a pack fails the reports of that language. English ships in
``labeling/languages/en``, its headings with the node, its lexicons with the schemas; a site names
folders of its own in the settings.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from dicom_node.reports.headings import Headings, english_headings
from labeling.cues import Cues, read_cues, read_headings
from labeling.errors import Permanent
from labeling.language_detection import choose
from labeling.located_yaml import Entry, read_yaml

ENGLISH = "en"
MAXIMUM_FILES = 64

_LANGUAGE, _HEADINGS, _CUES = "language.yaml", "headings.yaml", "cues.yaml"
_LEXICON = ".rules.yaml"
_CODE = re.compile(r"[a-z]{2,3}")


class InvalidLanguagePack(Permanent):
    """A language pack cannot be used; the message names file and key."""


@dataclass(frozen=True)
class LanguagePack:
    """The words of one language.

    Args:
        code: ISO 639-1.
        name: in English, for example "German".
        digest: SHA-256 over the files of the pack, and over the headings, whoever gave them.
        prompts: by labeler name, the named texts with their placeholders.
        words: frequent words, in lower case, by which a text is taken for this language.
        abbreviations: what a full stop may follow without ending the sentence.
        detected_as: further codes by which the language may be detected ("nb" for "no").
        headings: how its reports are divided.
        cues: denials, hedges and the like for the labeler by rules; None: it cannot read it.
        lexicons: by schema name, the content of ``SCHEMA.rules.yaml``.
        open_endings: words after which a sentence goes on in the next line.
    """

    code: str
    name: str
    digest: str
    prompts: Mapping[str, Mapping[str, str]]
    words: frozenset[str] = frozenset()
    abbreviations: tuple[str, ...] = ()
    open_endings: tuple[str, ...] = ()
    detected_as: tuple[str, ...] = ()
    headings: Headings = field(default_factory=english_headings)
    cues: Cues | None = None
    lexicons: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Languages:
    """The packs at hand, by code."""

    packs: Mapping[str, LanguagePack]

    @property
    def digest(self) -> str:
        """SHA-256 over all packs."""
        content = "".join(f"{code} {pack.digest}\n" for code, pack in sorted(self.packs.items()))
        return hashlib.sha256(content.encode()).hexdigest()

    def pack_of(self, text: str) -> LanguagePack | None:
        """Return the pack for the language of a report; None where there is none for it."""
        codes = {other: code for code, pack in self.packs.items() for other in pack.detected_as}
        codes |= {code: code for code in self.packs}
        code = choose(text, {code: pack.words for code, pack in self.packs.items()}, codes)
        return self.packs[code] if code is not None else None


def load_languages(folders: Sequence[Path] = ()) -> Languages:
    """Return English and the packs in these folders; a site's own English replaces ours.

    Raises:
        InvalidLanguagePack: a pack cannot be used; the message names file, line and key.
    """
    english = _english()
    packs = {english.code: english}
    own: set[str] = set()
    for folder in folders:
        pack = _load(Path(folder), folder.name)
        if pack.code in own:
            raise InvalidLanguagePack(f"{folder.name}: a second pack for {pack.code}")
        _check_prompts(pack, english, folder.name)
        own.add(pack.code)
        packs[pack.code] = pack
    return Languages(packs)


def english_cues() -> Cues:
    """Return the cues that come with the package."""
    cues = _english().cues
    if cues is None:
        raise InvalidLanguagePack(f"{ENGLISH}: the folder holds no {_CUES}")
    return cues


@lru_cache(maxsize=1)
def _english() -> LanguagePack:
    return _load(resources.files("labeling") / "languages" / ENGLISH, ENGLISH)


def _load(folder: Path | Traversable, name: str) -> LanguagePack:
    contents = _contents(folder, name)
    if _LANGUAGE not in contents:
        raise InvalidLanguagePack(f"{name}: the folder holds no {_LANGUAGE}")
    lexicons = {
        file.removesuffix(_LEXICON): contents[file] for file in contents if file.endswith(_LEXICON)
    }
    tops = {
        file: read_yaml(content, f"{name}/{file}", InvalidLanguagePack)
        for file, content in contents.items()
        if not file.endswith(_LEXICON)
    }
    language = tops.pop(_LANGUAGE).fields(
        {"code", "name", "words"}, {"abbreviations", "open_endings", "detected_as"}
    )
    given, cues = tops.pop(_HEADINGS, None), tops.pop(_CUES, None)
    headings = _headings(given, language["code"])
    return LanguagePack(
        code=_code(language["code"]),
        name=language["name"].text(),
        digest=_digest(contents, headings),
        prompts={Path(file).stem: _prompts(top) for file, top in tops.items()},
        words=frozenset(language["words"].text().lower().split()),
        abbreviations=_texts(language, "abbreviations"),
        open_endings=_words(language, "open_endings"),
        detected_as=_texts(language, "detected_as"),
        headings=headings,
        cues=None if cues is None else read_cues(cues),
        lexicons=lexicons,
    )


def _contents(folder: Path | Traversable, name: str) -> dict[str, bytes]:
    """Return the YAML files of a pack by name; whatever else lies there is not looked at."""
    try:
        files = sorted(
            (each for each in folder.iterdir() if each.name.endswith(".yaml") and each.is_file()),
            key=lambda each: each.name,
        )
        if len(files) > MAXIMUM_FILES:
            raise InvalidLanguagePack(f"{name}: more than {MAXIMUM_FILES} files")
        return {each.name: each.read_bytes() for each in files}
    except OSError as error:
        raise InvalidLanguagePack(f"{name}: cannot be read ({error.strerror})") from error


def _code(entry: Entry) -> str:
    if not _CODE.fullmatch(entry.text()):
        raise entry.refuse("expected a code of ISO 639, for example de")
    return entry.text()


def _headings(top: Entry | None, code: Entry) -> Headings:
    """Return a pack's headings; without any, a history would be read like findings."""
    if top is not None:
        return read_headings(top)
    if code.text() != ENGLISH:
        raise code.refuse(f"the folder holds no {_HEADINGS}; only English has headings of its own")
    return english_headings()


def _texts(fields: Mapping[str, Entry], key: str) -> tuple[str, ...]:
    return fields[key].texts() if key in fields else ()


def _words(fields: Mapping[str, Entry], key: str) -> tuple[str, ...]:
    return tuple(fields[key].text().split()) if key in fields else ()


def _prompts(top: Entry) -> dict[str, str]:
    return {key: entry.verbatim() for key, entry in top.named().items()}


def _digest(contents: Mapping[str, bytes], headings: Headings) -> str:
    # Headings that come with the node lie in no file of the pack, and decide what is read.
    digest = hashlib.sha256(json.dumps(asdict(headings), sort_keys=True).encode())
    for file, content in contents.items():
        digest.update(f"{file} {len(content)}\n".encode() + content)
    return digest.hexdigest()


_PLACEHOLDER = re.compile(r"\{\w+\}")


def _check_prompts(pack: LanguagePack, english: LanguagePack, name: str) -> None:
    """Hold the prompts of a pack against the English ones: same keys, same placeholders."""
    for labeler, texts in pack.prompts.items():
        wanted = english.prompts.get(labeler)
        if wanted is None:
            raise InvalidLanguagePack(f"{name}/{labeler}.yaml: no labeler asks by this name")
        if different := sorted(wanted.keys() ^ texts.keys()):
            what = "missing" if different[0] in wanted else "unknown"
            raise InvalidLanguagePack(f"{name}/{labeler}.yaml: {what} key {different[0]}")
        for key, text in texts.items():
            if set(_PLACEHOLDER.findall(text)) != set(_PLACEHOLDER.findall(wanted[key])):
                needed = " ".join(sorted(set(_PLACEHOLDER.findall(wanted[key])))) or "none"
                raise InvalidLanguagePack(
                    f"{name}/{labeler}.yaml, {key}: the placeholders must be {needed}"
                )
