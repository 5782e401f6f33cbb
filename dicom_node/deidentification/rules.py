"""From an element of the original to what stands in the de-identified object, or nothing.

The object is built anew: what no rule lets in is not in it. Rules in their order:

1. Private elements, group lengths, curves, overlays and whatever the data dictionary does not know
   are removed; so is an element whose VR is not the one of the dictionary.
2. An attribute of Table E.1-1 follows the table. Of several actions the one that satisfies every
   type is taken: a dummy value before an empty one before removal; a sequence that may be removed
   is removed, one that needs a value is emptied.
3. Any other attribute would be kept as it is by the standard. Here it is kept where its value
   cannot name anybody: numbers, code strings, registered UIDs, codes of public schemes. Text is
   emptied, but for a few technical terms; other UIDs are replaced, binary and unknown values
   removed.
4. What remains and still names the patient (:class:`cleaning.Names`) is removed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydicom import config
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_node.deidentification.attributes import Attribute, table
from dicom_node.deidentification.cleaning import (
    REMOVED,
    Names,
    clean_age,
    clean_code_string,
    clean_text,
    clean_time,
    is_number,
    shifted_date,
    shifted_date_time,
)
from dicom_node.deidentification.profile import Option, Profile

NUMERIC = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
STRINGS_OF_NUMBERS = frozenset({"DS", "IS"})
TEMPORAL = frozenset({"DA", "DT", "TM"})
TEXT = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_SEX = 0x00100040
_NAMES_AND_IDS = frozenset({0x00100010, 0x00100020})
_NEEDED_SEQUENCES = frozenset({0x00400555})
"""Acquisition Context Sequence: some image IODs need it, and it may be empty (PS3.3 C.7.6.14)."""
_CODE_ITEM = (0x00080100, 0x00080102)  # Code Value, Coding Scheme Designator
_CODE_MEANING = 0x00080104
_TABLES = frozenset({0x00283000, 0x00283010})
"""Sequences of lookup tables: binary values in which anything can stand."""
_GRAPHICS = (0x50, 0x60)  # repeating groups of curves and overlays, by their first byte
_DUMMIES: dict[str, Any] = {
    "AE": REMOVED, "AS": "000D", "CS": REMOVED, "DA": "19000101", "DS": "0", "DT": "19000101",
    "IS": "0", "LO": REMOVED, "LT": REMOVED, "PN": REMOVED, "SH": REMOVED, "ST": REMOVED,
    "TM": "000000", "UC": REMOVED, "UT": REMOVED,
}  # fmt: skip

# Public coding schemes (PS3.16 Table 8-1) and the form of their codes.
_SCHEMES: dict[str, re.Pattern[str]] = {
    "DCM": re.compile(r"\d{6}"),
    "SCT": re.compile(r"\d{6,18}"),
    "SRT": re.compile(r"[A-Z]-[0-9A-F]{4,5}"),
    "SNM3": re.compile(r"[A-Z]-[0-9A-F]{4,5}"),
    "LN": re.compile(r"\d{1,5}-\d"),
    "RADLEX": re.compile(r"RID\d{1,6}"),
    "FMA": re.compile(r"\d{2,6}"),
    "UCUM": re.compile(r"1|%|mm|cm|mm2|cm3|s|ms|deg|\[hnsf'U\]|\{[a-z]{1,12}\}"),
}
_TERMS: dict[int, re.Pattern[str]] = {
    0x00181210: re.compile(r"[A-Z][a-z]?\d{2}[a-z]?|STANDARD|BONE|BONEPLUS|SOFT|LUNG|DETAIL|EDGE"),
    0x00180085: re.compile(r"\d{1,3}[A-Z][a-z]?"),  # Imaged Nucleus
    0x00209056: re.compile(r"\d{1,4}"),  # Stack ID
    0x00281054: re.compile(r"HU|US|OD|MGML|Z_EFF|ED|EDW|HU_MOD|PCT"),  # Rescale Type
    0x00283004: re.compile(r"HU|US|OD|MGML|Z_EFF|ED|EDW|HU_MOD|PCT"),  # Modality LUT Type
}
"""Text that the table does not list and that is kept where it has this form."""
_MANUFACTURER, _WINDOW = 0x00080070, 0x00281055
"""Manufacturer, Window Center & Width Explanation: the words of the closed list are kept."""

_OF_DEVICES = frozenset({0x00080070, 0x00081090, 0x00181020, 0x00181250, 0x00181251})
"""Manufacturer, model, software and coils: kept as they are where device identity is."""


@dataclass(frozen=True)
class Rules:
    """The profile as rules, with the second net."""

    profile: Profile
    names: Names

    def apply(self, original: Dataset) -> Dataset:
        """Return what remains of a data set or of an item, without pixel data."""
        made = Dataset()
        for element in original:
            kept = self._element(element)
            if kept is not None:
                made[kept.tag] = kept
        return made

    def _element(self, element: DataElement) -> DataElement | None:
        tag = int(element.tag)
        if _never(element):
            return None
        row = table().get(tag)
        if row is None:
            return self._unlisted(element)
        if any(option in self.profile.options for option in row.options):
            return self._retained(element, row)
        return self._by_table(element, row)

    def _by_table(self, element: DataElement, row: Attribute) -> DataElement | None:
        """Apply the Basic Profile."""
        action = row.basic.rsplit("/", 1)[-1]
        is_optional = element.VR == "SQ" and row.basic.startswith("X") and action != "U*"
        if action == "X" or (is_optional and int(element.tag) not in _NEEDED_SEQUENCES):
            return None
        if action in ("U", "U*"):
            return self._uids(element) if element.VR != "SQ" else self._sequence(element)
        if int(element.tag) in _NAMES_AND_IDS:
            return _made(element, self.profile.patient)
        if action == "D" and element.VR in _DUMMIES:
            return _made(element, _DUMMIES[element.VR])
        if action == "D" and element.VR == "UI":
            return self._uids(element)
        if action == "D" and element.VR in NUMERIC:
            return _made(element, 0)
        return _made(element, [] if element.VR == "SQ" else None)

    def _retained(self, element: DataElement, row: Attribute) -> DataElement | None:
        """Keep or clean an attribute that a chosen option speaks of."""
        by_option = {o: a for o, a in row.options.items() if o in self.profile.options}
        if element.VR == "UI" and "K" in by_option.values():
            return element
        if element.VR in TEXT and Option.DEVICE_IDENTITY in by_option:
            return self._text(element, lambda text: text)
        if element.VR in TEMPORAL and Option.MODIFIED_DATES not in by_option:
            # Who keeps a device keeps no moments of the patient's.
            return self._by_table(element, row)
        if element.VR == "AS":
            return self._text(element, clean_age)
        if int(element.tag) == _SEX:
            return self._text(element, lambda text: text if text in ("M", "F", "O") else "")
        if element.VR in TEXT:
            return self._text(element, clean_text)
        return self._harmless(element)

    def _unlisted(self, element: DataElement) -> DataElement | None:
        if element.VR in TEMPORAL and Option.MODIFIED_DATES not in self.profile.options:
            return _made(element, None)
        return self._harmless(element)

    def _harmless(self, element: DataElement) -> DataElement | None:
        """Keep what cannot name anybody of an attribute."""
        vr = element.VR
        if vr == "SQ":
            return None if int(element.tag) in _TABLES else self._sequence(element)
        if vr == "UI":
            return self._uids(element)
        if vr in NUMERIC:
            return element
        if vr in STRINGS_OF_NUMBERS:
            return element if all(is_number(each) for each in _texts(element)) else None
        if vr == "CS":
            return self._text(element, clean_code_string)
        if vr in TEMPORAL:
            return self._text(element, self._cleaner(vr))
        if vr in TEXT:
            return self._technical(element)
        return None

    def _cleaner(self, vr: str) -> Callable[[str], str]:
        days = self.profile.shift_days
        if vr == "DA":
            return lambda text: shifted_date(text, days)
        if vr == "DT":
            return lambda text: shifted_date_time(text, days)
        return clean_time

    def _technical(self, element: DataElement) -> DataElement:
        tag = int(element.tag)
        if tag in _OF_DEVICES and Option.DEVICE_IDENTITY in self.profile.options:
            return self._text(element, lambda text: text)
        if tag in _OF_DEVICES:
            # Of type 1 in some IODs, type 2 or 3 in others.
            cleaned = self._text(element, clean_text if tag == _MANUFACTURER else lambda _: "")
            return _made(element, REMOVED) if cleaned.is_empty else cleaned
        if tag == _WINDOW:
            return self._text(element, clean_text)
        form = _TERMS.get(tag)
        if form is None:
            return _made(element, None)
        return self._text(element, lambda text: text if form.fullmatch(text) else "")

    def _text(self, element: DataElement, clean: Callable[[str], str]) -> DataElement:
        """Clean each value; one that names the patient goes, or all where they do so together."""
        blank = REMOVED if element.VR == "CS" else ""
        cleaned = [clean(text) for text in _texts(element)]
        cleaned = [blank if self.names.are_in(text) else text for text in cleaned]
        if self.names.are_in("".join(cleaned)):
            cleaned = [blank] * len(cleaned)
        return _made(element, (cleaned if any(cleaned) else None))

    def _uids(self, element: DataElement) -> DataElement:
        """Replace each UID but those that the standard registers (PS3.6 Annex A)."""
        uids = [
            text if text in UID_dictionary else self.profile.uid(text)
            for text in _texts(element)
            if text
        ]
        return _made(element, uids or None)

    def _sequence(self, element: DataElement) -> DataElement | None:
        """Apply the rules to each item; a sequence of which nothing is left goes."""
        items = [self._item(item) for item in element.value or ()]
        kept = [item for item in items if len(item)]
        return _made(element, kept) if kept or not items else None

    def _item(self, item: Dataset) -> Dataset:
        if any(tag in item for tag in _CODE_ITEM):
            return self._code(item)
        made = self.apply(item)
        # Without its text an item says less; an attribute without value would only be malformed.
        for element in list(made):
            if element.VR != "SQ" and element.is_empty:
                del made[element.tag]
        return made

    def _code(self, item: Dataset) -> Dataset:
        """Keep the code of a public scheme, if it has the form of one; its meaning is cleaned.

        Modifiers and everything else that the item may hold goes.
        """
        code, scheme = (_first(item, tag) for tag in _CODE_ITEM)
        form = _SCHEMES.get(scheme)
        made = Dataset()
        if form is None or not form.fullmatch(code) or self.names.are_in(code):
            return made
        meaning = clean_text(_first(item, _CODE_MEANING))
        made.CodeValue, made.CodingSchemeDesignator = code, scheme
        made.CodeMeaning = REMOVED if not meaning or self.names.are_in(meaning) else meaning
        return made


def _never(element: DataElement) -> bool:
    """Tell whether an element is removed whatever else is said of it."""
    tag = element.tag
    if tag.is_private or tag.element == 0 or tag.group < 8 or tag.group >> 8 in _GRAPHICS:
        return True
    if not dictionary_has_tag(tag):
        return True
    allowed = dictionary_VR(tag).split(" or ")
    return element.VR not in allowed


def _texts(element: DataElement) -> list[str]:
    if element.VM == 0:
        return []
    values = element.value if element.VM > 1 else [element.value]
    return [str(each) for each in values]


def _first(item: Dataset, tag: int) -> str:
    element = item.get(tag)
    return "" if element is None or element.VR not in TEXT else (_texts(element) or [""])[0].strip()


def _made(element: DataElement, value: Any) -> DataElement:
    if isinstance(value, list) and len(value) == 1 and element.VR != "SQ":
        value = value[0]
    return DataElement(element.tag, element.VR, value, validation_mode=config.IGNORE)
