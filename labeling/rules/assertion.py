"""Decides whether a sentence affirms, doubts or denies a finding that it names.

Works in the manner of NegEx (Chapman et al., J Biomed Inform 2001) and ConText: cues with a
scope that runs over lists and ends at words that open a new statement.
"""

from __future__ import annotations

import re

from labeling.vocabulary import State

_FLAGS = re.IGNORECASE
_REACH = 400  # characters; keeps the work linear where a peer sends one endless sentence

# Phrases that hold a negation but deny nothing.
_PSEUDO = re.compile(
    r"\b(?:no|without|not)\s+(?:(?:significant(?:ly)?|interval|appreciabl[ey]|substantial(?:ly)?|any|further)\s+)*"
    r"(?:changed?|progression|progressed|increased?|worsening|worsened|improvement|improved)\b"
    r"|\bnot\s+only\b|\bno\s+doubt\b|\bnothing\s+but\b|\bno\s+longer\s+than\b",
    _FLAGS,
)  # fmt: skip
_HEDGE = re.compile(
    r"\b(?:possib(?:le|ly|ility)|probab(?:le|ly)|likely|suspect(?:ed|s)?|suspicio(?:us|n)\s+(?:for|of)"
    r"|may|might|could|questionabl[ey]|question\s+of|query|queried|equivocal|borderline|doubtful"
    r"|suggest(?:s|ive|ing|ion|ed)?|differential|versus|vs|r/o|presum\w+|potential(?:ly)?|perhaps"
    r"|(?:can\s?not|can't|could\s+not|not)\s+(?:be\s+)?(?:(?:fully|entirely|completely|definitely)\s+)?(?:be\s+)?"
    r"(?:exclud\w+|ruled?\s+out)|difficult\s+to\s+exclude|raises?\s+the)\b|\?",
    _FLAGS,
)  # fmt: skip
_POST_HEDGE = re.compile(
    r"\b(?:is|are|was|were|remains?)\s+(?:(?:also|again|therefore)\s+)?(?:possible|probable|likely|unlikely|suspected|queried"
    r"|questionable|equivocal|doubtful|not\s+(?:fully\s+|entirely\s+|completely\s+)?(?:excluded|ruled\s+out))\b"
    r"|\b(?:can\s?not|can't|could\s+not)\s+be\s+(?:\w+ly\s+)?(?:excluded|ruled\s+out)\b|\bunlikely\b|\?",
    _FLAGS,
)  # fmt: skip
_DENIAL = re.compile(
    r"\b(?:no|not|without|nor|neither|den(?:y|ies|ied)|negative\s+for|free\s+(?:of|from)|absen(?:ce|t)(?:\s+of)?"
    r"|lack(?:s|ing)?(?:\s+of)?|rather\s+than|never|nil|w/o|rules?\s+out|ruled\s+out|excludes?|none\s+of|fails?\s+to\s+show)\b",
    _FLAGS,
)  # fmt: skip
# "no severe stenosis" leaves room for a mild one.
_DEGREE = re.compile(
    r"^\s*(?:evidence\s+of\s+)?(?:(?:high|higher)[\s-]grade|severe|critical|marked|advanced|tight|gross)\b",
    _FLAGS,
)
_POST_DENIAL = re.compile(
    r"^(?:(?!\b(?:is|are|was|were|there|but|with|has|have)\b)[\w\s,/()'\-])*?"
    r"(?:\b(?:is|are|was|were|has|have)\s+(?:(?:also|been|now|clearly|definitely)\s+)*"
    r"(?:not\b(?!\s+(?:excluded|ruled|changed|significantly\s+changed))|absent\b|excluded\b|ruled\s+out\b|resolved\b|no\s+longer\b)"
    r"|\b(?:not\s+(?:seen|present|identified|evident|noted|demonstrated|detected)|no\s+longer\s+\w+|absent|excluded|resolved)\b)"
    r"|^\s*[:=\-–]\s*(?:none|no|nil|absent|negative|not)\b",
    _FLAGS,
)  # fmt: skip
# Nothing is claimed about the patient's present state.
_NOT_CLAIMED = re.compile(
    r"\b(?:history\s+of|h/o|hx\s+of|status\s+post|s/p"
    r"|(?:surgery|operat\w+|discectomy|laminectomy|decompression|treated)\s+for"
    r"|(?:to|please|and)\s+(?:rule\s+out|exclude|evaluate|assess|look|check)(?:\s+for)?"
    r"|evaluat\w+\s+(?:for|of)|assess\w*\s+(?:for|of)|concern(?:ed|s)?\s+(?:for|about)|clinical(?:ly)?\s+suspected"
    r"|clinical\s+(?:question|suspicion|concern)|in\s+case\s+of|if\s+there|risk\s+of|grading\s+of|scale)\b[^.;:]*$",
    _FLAGS,
)  # fmt: skip
# A new statement begins: what was denied or doubted before does not reach beyond.
_BOUNDARY = re.compile(
    r"[;:]|\b(?:but|however|although|though|whereas|while|except(?:\s+for)?|apart\s+from|other\s+than"
    r"|aside\s+from|yet|despite|otherwise)\b|,\s*(?:with|causing|resulting|producing|there|which|the|this|these|it|at|in)\b"
    r"|\b(?:and|with)\s+(?:there|a|mild|moderate|severe|marked|small|large)\b|\bthere\s+(?:is|are|was)\b"
    r"|\b(?:causing|resulting\s+in|producing|leading\s+to)\b|,\s*L\d",
    _FLAGS,
)  # fmt: skip
# Ends the scope unless a list goes on ("no herniation, severe stenosis or slip").
_SOFT_BOUNDARY = re.compile(
    r",\s*(?:a|an|mild|moderate|severe|marked|small|large|broad|diffuse|focal|central|grade|left|right|bilateral)\b",
    _FLAGS,
)
_LIST_GOES_ON = re.compile(r"\b(?:or|nor)\b", _FLAGS)


def assertion(sentence: str, start: int, end: int) -> State | None:
    """Return the state that ``sentence`` gives to the finding named in ``[start, end)``.

    Returns:
        PRESENT, UNCERTAIN or ABSENT; None where nothing is claimed (a history, a question).
    """
    before = _PSEUDO.sub(_blank, sentence[max(0, start - _REACH) : start])
    after = _PSEUDO.sub(_blank, sentence[end : end + _REACH])
    if _NOT_CLAIMED.search(_scope(before, "")):
        return None
    tail = re.split(r"[;]|,\s*(?:but|with|and\s+there)\b|\bbut\b", after, maxsplit=1, flags=_FLAGS)[
        0
    ]
    scope = _scope(before, tail)
    if _HEDGE.search(scope) or _post_hedged(tail):
        return State.UNCERTAIN
    denials = list(_DENIAL.finditer(scope))
    if denials:
        degree = _DEGREE.match(scope[denials[-1].end() :] + sentence[start:end])
        return State.UNCERTAIN if degree else State.ABSENT
    return State.ABSENT if _POST_DENIAL.search(tail) else State.PRESENT


def _post_hedged(tail: str) -> bool:
    match = _POST_HEDGE.search(tail)
    # Too far away it speaks of something else.
    return match is not None and "," not in tail[: match.start()] and match.start() < 60


def _scope(before: str, after: str) -> str:
    """Return the part of ``before`` whose cues reach the finding."""
    start = max((match.end() for match in _BOUNDARY.finditer(before)), default=0)
    if not (_LIST_GOES_ON.search(before[start:]) or _LIST_GOES_ON.search(after)):
        soft = max((m.end() for m in _SOFT_BOUNDARY.finditer(before, start)), default=start)
        start = soft
    return before[start:]


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())
