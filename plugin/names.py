"""Names that people give to what they freeze."""

from __future__ import annotations

from plugin.errors import Permanent

LONGEST_NAME = 64


def check_name(owner: str, name: str) -> None:
    """Refuse a name that people cannot tell, type, or see whole in a list.

    Args:
        owner: what bears it, such as "a cohort".
        name: the name.

    Raises:
        Permanent: it is empty, long, or has other than printable characters or spaces at its ends.
    """
    if not (0 < len(name) <= LONGEST_NAME) or name != name.strip() or not name.isprintable():
        raise Permanent(
            f"{owner}'s name has 1 to {LONGEST_NAME} printable characters, no space at its ends"
        )
