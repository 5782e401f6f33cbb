import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.image_builders import save, t2_slice
from training.classifier import DISC_NETWORK, ClassifierFamily, DiscNetwork
from training.discs import DISC_CHAIN
from training.domain.domain import OUTSIDE, UNLIKE, Domain
from training.errors import Permanent
from training.geometry import Volume
from training.inference import predict, predict_discs
from training.samples import StudyDiscs, study_samples, target_matrix
from training.trainer import TrainingResult
from training.weights import Weights, load_weights, save_weights
from training.weights_check import NO_DOMAIN, check_classifier

SITES = ("L1-L2", "L4-L5", "whole")
REASON = "the discs could not be numbered with certainty"


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    path = tmp_path / "weights"
    return load_weights(path, write_weights(path))


def write_weights(
    path: Path, domain: Domain | None = None, found_by: dict[str, str] | None = None
) -> str:
    torch.manual_seed(0)
    network = DISC_NETWORK.build(2)
    result = TrainingResult(
        family=DISC_NETWORK.name,
        observations=("herniation", "stenosis"),
        state=network.state_dict(),
        offsets=(1.0, 0.0),
        temperature=2.0,
        thresholds={"herniation": 0.4, "stenosis": 0.5},
        curve=(),
        best_epoch=1,
        probabilities=np.zeros((0, 2)),
        seed=0,
        seconds=0.0,
        domain=domain,
    )
    return save_weights(path, result, {"disc_localiser": found_by} if found_by else {})


def study() -> StudyDiscs:
    volume = Volume(np.zeros((1, 2, 2), np.float32), (1.0, 1.0, 1.0), np.zeros(3), np.eye(3))
    crop = np.random.default_rng(0).random(DISC_NETWORK.input_shape).astype(np.float32)
    return StudyDiscs(volume, (), {"L4-L5": crop}, {"L1-L2": REASON, "whole": "no disc"})


def test_every_observation_and_site_gets_a_row(weights: Weights) -> None:
    rows = predict_discs(weights, study(), ("stenosis", "unknown"), SITES)
    assert [(row.observation, row.site) for row in rows] == [
        (observation, site) for observation in ("stenosis", "unknown") for site in SITES
    ]
    by_key = {(row.observation, row.site): row for row in rows}
    assert by_key["stenosis", "L1-L2"].probability is None
    assert by_key["stenosis", "L1-L2"].reason == REASON
    assert by_key["unknown", "L4-L5"].reason == "the model does not predict this"
    found = by_key["stenosis", "L4-L5"]
    assert found.probability is not None
    assert 0 < found.probability < 1
    assert found.reason == ""


def test_offset_and_temperature_shape_the_probability(weights: Weights) -> None:
    (row,) = predict_discs(weights, study(), ("herniation",), ("L4-L5",))
    network = DISC_NETWORK.build(2)
    network.load_state_dict(weights.state)
    network.eval()
    with torch.inference_mode():
        logit = float(network(torch.from_numpy(study().crops["L4-L5"])[None])[0, 0])
    assert row.probability == pytest.approx(1 / (1 + np.exp(-(logit - 1.0) / 2.0)), rel=1e-4)


def test_weights_of_another_family_are_refused(weights: Weights) -> None:
    stranger = dataclasses.replace(weights, family="other")
    with pytest.raises(Permanent, match="another family"):
        predict_discs(stranger, study(), ("stenosis",), SITES)
    misfit = dataclasses.replace(weights, state={})
    with pytest.raises(Permanent, match="do not fit"):
        predict_discs(misfit, study(), ("stenosis",), SITES)


def test_a_series_that_cannot_be_read_is_not_evaluated_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    digest = write_weights(path)
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"nothing of use" * 20)
    rows = predict(path, digest, [garbage], ("stenosis",), SITES)
    assert {row.reason for row in rows} == {"an image file is not readable DICOM"}
    assert [row.probability for row in rows] == [None] * len(SITES)


def test_weights_abstain_on_what_they_were_not_made_for(weights: Weights, tmp_path: Path) -> None:
    assert weights.domain is None  # as in files of earlier versions
    (before,) = predict_discs(weights, study(), ("stenosis",), ("L4-L5",))
    assert before.probability is not None
    known = Domain({"modality": ("MR",)}, {})
    kept = dataclasses.replace(weights, domain=known)
    (blank,) = predict_discs(kept, study(), ("stenosis",), ("L4-L5",))
    assert (blank.probability, blank.reason) == (None, f"{UNLIKE}: it is blank")
    path = tmp_path / "with domain"
    digest = write_weights(path, known)
    ct = save(t2_slice(0.0, Modality="CT"), tmp_path / "ct")
    rows = predict(path, digest, [ct], ("stenosis",), SITES)
    assert {row.reason for row in rows} == {f"{OUTSIDE}: Modality is not MR"}
    mr = save(t2_slice(0.0), tmp_path / "mr")
    rows = predict(path, digest, [mr], ("stenosis",), SITES)
    assert not any(OUTSIDE in row.reason for row in rows)


def test_samples_keep_missing_targets_missing() -> None:
    targets = {"stenosis": {"L4-L5": 1.0}, "herniation": {"L4-L5": None}, "slip": {}}
    (sample,) = study_samples(study(), "1.2.3", "key", targets, "train")
    row = target_matrix([sample], ("stenosis", "herniation", "slip", "other"))
    assert row.tolist()[0][0] == 1.0
    assert np.isnan(row[0, 1:]).all()


def test_weights_are_checked_before_they_are_put_to_work(tmp_path: Path) -> None:
    path, names = tmp_path / "weights", {"herniation", "stenosis"}
    digest = write_weights(path)

    class Another(DiscNetwork):
        name = "another"

    def check(family: ClassifierFamily = DISC_NETWORK, asked: set[str] = names) -> str:
        return check_classifier(path, digest, asked, family, DISC_CHAIN)

    assert check() == NO_DOMAIN
    with pytest.raises(Permanent, match="other observations"):
        check(asked={"herniation"})
    with pytest.raises(Permanent, match="another family"):
        check(Another())
    with pytest.raises(Permanent, match="not the expected one"):
        check_classifier(path, "0" * 64, names, DISC_NETWORK, DISC_CHAIN)
    digest = write_weights(path, Domain({"modality": ("MR",)}, {}))
    assert "headers alone" in check()
    digest = write_weights(path, found_by={"name": "disc_chain", "digest": "of another program"})
    with pytest.raises(Permanent, match="discs are found otherwise now"):
        check()
