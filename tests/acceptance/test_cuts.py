"""An association that ends in the middle leaves a whole object or none."""

from pathlib import Path

import pytest

from tests.acceptance.cuts import WAYS, run

CUTS = 200


@pytest.mark.timeout(120)
def test_every_pdu_boundary_and_random_bytes(tmp_path: Path) -> None:
    outcome = run(tmp_path, CUTS, seed=1)
    assert set(outcome.cuts) == set(WAYS)
    assert outcome.cuts.total() >= CUTS
    assert outcome.absent > 0
    assert 0 < outcome.acknowledged <= outcome.whole <= outcome.complete
    assert outcome.unanswered_half_closes == 0
    assert outcome.kept, outcome
