"""What the words of a feed mean: statuses, sexes, modalities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence

from dicom_node.feeds.proposal import Finding
from dicom_node.feeds.sample import Sampled, shown, told
from dicom_node.feeds.vocabulary import (
    AMBIGUOUS_MODALITY_WORDS,
    AMBIGUOUS_STATUS_WORDS,
    MODALITIES,
    MODALITY_WORDS,
    OBSERVATION_STATUS_CODES,
    RESULT_STATUS_CODES,
    SEX_CODES,
    SEX_WORDS,
    STATUS_WORDS,
    plain,
)

_STATUS_FIELDS = ("OBR-25", "ORC-5")
_TEXT_TYPES = frozenset({"TX", "FT", "ST", "CE", "CWE", "ED", ""})


def look_at_words(messages: Sequence[Sampled]) -> Finding:
    """Propose what the words for statuses, sexes and modalities mean."""
    found = Finding()
    _result_statuses(found, messages)
    _observation_statuses(found, messages)
    sexes = Counter(value for each in messages for value in each.values("PID-8"))
    if sexes:
        found.because("sexes", f"PID-8: {told(sexes)}")
        _map(found, "sexes", sexes, SEX_CODES, SEX_WORDS, {})
    _modalities(found, messages)
    return found


def _result_statuses(found: Finding, messages: Sequence[Sampled]) -> None:
    results = [each for each in messages if any(name[0] == "OBR" for name in each.segments)]
    if not results:
        return
    key = "result_status_fields"
    counts = {
        path: Counter(value for each in results if (value := each.first(path)))
        for path in _STATUS_FIELDS
    }
    chosen = next((path for path in _STATUS_FIELDS if _speaks_of_status(counts[path])), "OBR-25")
    words = counts[chosen]
    reason = f"{chosen} is filled in {words.total()} of {len(results)}: {told(words)}"
    if chosen == "OBR-25":
        found.because(key, reason)
    else:
        found.propose(key, (chosen,), reason)
    if silent := len(results) - words.total():
        found.because(key, f"in {silent} messages the status of each line counts (OBX-11)")
    _map(found, "result_statuses", words, RESULT_STATUS_CODES, STATUS_WORDS, AMBIGUOUS_STATUS_WORDS)


def _speaks_of_status(words: Counter[str]) -> bool:
    known = sum(
        count
        for word, count in words.items()
        if word in RESULT_STATUS_CODES or plain(word) in STATUS_WORDS
    )
    return known > 0 and known * 2 >= words.total()


def _observation_statuses(found: Finding, messages: Sequence[Sampled]) -> None:
    words: Counter[str] = Counter()
    silent = 0
    for message in messages:
        for segment in message.segments:
            if segment[0] != "OBX" or (segment[2:3] and segment[2] not in _TEXT_TYPES):
                continue
            if word := segment[11].strip() if len(segment) > 11 else "":
                words[word] += 1
            else:
                silent += 1
    if words:
        found.because("observation_statuses", f"OBX-11 of text lines: {told(words)}")
    if silent:
        found.because("observation_statuses", f"{silent} text lines have no status of their own")
    _map(
        found,
        "observation_statuses",
        words,
        OBSERVATION_STATUS_CODES,
        STATUS_WORDS,
        AMBIGUOUS_STATUS_WORDS,
    )


def _modalities(found: Finding, messages: Sequence[Sampled]) -> None:
    """Only known words are mapped: what is no modality says nothing and contradicts no image."""
    words: Counter[str] = Counter()
    for path in ("IPC-5", "OBR-24"):
        words.update(value for each in messages if (value := each.first(path)))
    if not words:
        return
    key = "modalities"
    found.because(key, f"IPC-5, OBR-24: {told(words)}")
    others = {word: plain(word) for word in sorted(words) if word.upper() not in MODALITIES}
    for word, name in others.items():
        if reason := AMBIGUOUS_MODALITY_WORDS.get(name):
            found.ask(key, f"{shown(word)}: {reason}; until then it says nothing")
    mapped = {word: MODALITY_WORDS[name] for word, name in others.items() if name in MODALITY_WORDS}
    if mapped:
        found.propose(key, mapped, "known words: " + ", ".join(map(shown, mapped)))
    if silent := sum(words[word] for word in others if word not in mapped):
        found.because(key, f"in {silent} messages the word is no modality and says nothing")


def _map(
    found: Finding,
    key: str,
    words: Counter[str],
    codes: Container[str],
    known: Mapping[str, str],
    ambiguous: Mapping[str, str],
) -> None:
    """Map the words that are known; ask about the others."""
    mapped: dict[str, str] = {}
    unknown: Counter[str] = Counter()
    for word, count in words.items():
        if word in codes:
            continue
        if code := known.get(plain(word)):
            mapped[word] = code
        elif reason := ambiguous.get(plain(word)):
            found.ask(key, f"{shown(word)} ({count} times): {reason}")
        else:
            unknown[word] = count
    if mapped:
        found.propose(
            key,
            dict(sorted(mapped.items())),
            "known words: " + ", ".join(f"{shown(w)} {words[w]}" for w in sorted(mapped)),
        )
    if unknown:
        found.ask(key, f"{unknown.total()} values are not known: {told(unknown)}")
