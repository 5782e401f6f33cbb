"""Does a picture show a spine the right way up? The same bars, read as if it were turned.

A chain numbers discs by how a lumbar spine bends from top to bottom and from front to back. A
picture that is upside down or mirrored has such a chain, too, once it is turned back; where that
one fits about as well as the upright one, nothing can be numbered.
"""

from __future__ import annotations

from dataclasses import replace

from training.disc_chain import find_chain
from training.disc_response import Candidates, turned_like_discs

_TURNS = ((True, False), (False, True), (True, True))  # upside down, back to front, both


def turned_score(candidates: Candidates, shape: tuple[int, ...]) -> float:
    """Return the log score of the best chain in the turned picture; minus infinity without one.

    Args:
        candidates: bars of all tilts, as ``disc_response.find_candidates`` gives them.
        shape: rows and columns of the picture of 1 mm pixels that they come from.
    """
    chains = (find_chain(turned_like_discs(_turned(candidates, shape, *turn))) for turn in _TURNS)
    return max((chain.score for chain in chains if chain is not None), default=float("-inf"))


def _turned(candidates: Candidates, shape: tuple[int, ...], down: bool, back: bool) -> Candidates:
    return replace(
        candidates,
        row=shape[0] - 1 - candidates.row if down else candidates.row,
        column=shape[1] - 1 - candidates.column if back else candidates.column,
        tilt=candidates.tilt if down == back else -candidates.tilt,
    )
