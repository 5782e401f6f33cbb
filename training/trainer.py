"""Train a classifier on disc crops: masked targets, early stopping, the same result for a seed.

Targets may be missing: a label that says "not mentioned" is no target, and its term is left out of
the loss (masked binary cross-entropy). They may be probabilities (uncertain policy "soft"): those
teach, and count in the loss of the validation fold, but in no figure and for no threshold.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.classifier import DISC_NETWORK, ClassifierFamily
from training.domain.domain import Domain
from training.errors import Permanent
from training.samples import DiscSample, hard, target_matrix
from training.settings import TrainingSettings

# Random changes of a crop are costly on a CPU: this many of each are drawn once, and every epoch
# takes the next one.
_VARIANTS = 8
_MOST_WEIGHT = 8.0  # of a rare finding's positives in the loss
_WEIGHT_DECAY = 2e-2
# Weights are averaged over about the last 30 steps: with few patients the single steps jump.
_AVERAGING = 0.97
_TEMPERATURES = np.geomspace(0.5, 4.0, 43)


@dataclass(frozen=True)
class Epoch:
    """One point of the learning curve; AUROC is the mean over observations with both classes."""

    epoch: int
    training_loss: float
    validation_loss: float
    validation_auroc: float | None


@dataclass(frozen=True)
class TrainingResult:
    """A trained classifier: the weights of the best epoch and how to read its logits.

    A probability is ``sigmoid((logit - offset) / temperature)``: offsets undo the weights that
    rare positives had in the loss, the temperature is fitted on the validation fold. ``thresholds``
    are Youden's points on the validation fold. ``probabilities`` are those of every sample, in
    the order given, columns as in ``observations``. ``domain`` is what the inputs were like, where
    that was learned.
    """

    family: str
    observations: tuple[str, ...]
    state: dict[str, torch.Tensor]
    offsets: tuple[float, ...]
    temperature: float
    thresholds: dict[str, float]
    curve: tuple[Epoch, ...]
    best_epoch: int
    probabilities: NDArray[np.float64]
    seed: int
    seconds: float
    counts: dict[str, int] = field(default_factory=dict)
    domain: Domain | None = None


def train(
    samples: Sequence[DiscSample],
    observations: Sequence[str],
    settings: TrainingSettings,
    *,
    family: ClassifierFamily = DISC_NETWORK,
    progress: Callable[[Epoch], None] | None = None,
) -> TrainingResult:
    """Train on the samples of fold "train", stop early on "validation"; "test" is not looked at.

    The result is determined by the samples, in their order, and the settings.

    Args:
        samples: discs with targets; a patient's samples share one fold.
        observations: the outputs, in order.
        settings: seed, epochs, patience, batch size, learning rate, threads.
        family: network and transforms.
        progress: told of every epoch.

    Raises:
        Permanent: a fold is empty, a patient lies in two folds, an observation has no positive
            or no negative training sample, or a target is no number from 0 to 1.
    """
    _check(samples, observations, family)
    started = time.monotonic()
    torch.set_num_threads(min(settings.threads, family.useful_threads))
    generator = torch.Generator().manual_seed(settings.seed)
    data = _Data(samples, tuple(observations))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = family.build(len(observations))
        weights = data.positive_weights()
        run = _Run(network, family, data, weights, settings, generator)
        curve, best = run.fit(progress)
    network.load_state_dict(best.state)
    network.eval()
    offsets = torch.log(weights)
    logits = predict_logits(network, data.crops, family) - offsets
    temperature = _temperature(logits[data.validation], data.targets[data.validation])
    probabilities = torch.sigmoid(logits / temperature).double().numpy()
    return TrainingResult(
        family=family.name,
        observations=tuple(observations),
        state=best.state,
        offsets=tuple(float(o) for o in offsets),
        temperature=temperature,
        thresholds=operating_points(
            probabilities[data.validation],
            hard(data.targets[data.validation].numpy()),
            observations,
        ),
        curve=tuple(curve),
        best_epoch=best.epoch,
        probabilities=probabilities,
        seed=settings.seed,
        seconds=time.monotonic() - started,
        counts={"train": len(data.training), "validation": len(data.validation)},
    )


def predict_logits(
    network: nn.Module, crops: torch.Tensor, family: ClassifierFamily
) -> torch.Tensor:
    """Return logits (n, outputs) of crops (n, *input_shape) in evaluation mode."""
    transform = family.evaluation_transform()
    network.eval()
    with torch.inference_mode():
        batches = [torch.stack([transform(c) for c in b]) for b in torch.split(crops, 64)]
        return torch.cat([network(torch.as_tensor(b)) for b in batches])


def operating_points(
    probabilities: NDArray[np.float64],
    targets: NDArray[np.floating],
    observations: Sequence[str],
) -> dict[str, float]:
    """Return for each observation the threshold with the highest sensitivity + specificity.

    Youden's index, half way between the two probabilities that it separates. An observation that
    lacks a class in the fold gets 0.5.
    """
    points = {}
    for i, name in enumerate(observations):
        known = ~np.isnan(targets[:, i])
        truth, given = targets[known, i], probabilities[known, i]
        points[name] = _youden(truth, given) if len(set(truth.tolist())) == 2 else 0.5
    return points


def mean_auroc(targets: NDArray[np.floating], scores: NDArray[np.floating]) -> float | None:
    """Return the mean AUROC over the columns with both classes, None where there is none."""
    values = []
    for truth, score in zip(targets.T, scores.T, strict=True):
        known = ~np.isnan(truth)
        if len(set(truth[known].tolist())) == 2:
            values.append(float(roc_auc_score(truth[known], score[known])))
    return float(np.mean(values)) if values else None


@dataclass(frozen=True)
class _Best:
    epoch: int
    loss: float
    state: dict[str, torch.Tensor]


class _Data:
    """The samples as tensors, with the indices of the folds that training may see."""

    def __init__(self, samples: Sequence[DiscSample], observations: tuple[str, ...]) -> None:
        self.crops = torch.from_numpy(np.stack([s.crop for s in samples]).astype(np.float32))
        self.targets = torch.from_numpy(target_matrix(samples, observations)).float()
        folds = np.asarray([s.fold for s in samples])
        self.training = torch.from_numpy(np.flatnonzero(folds == "train"))
        self.validation = torch.from_numpy(np.flatnonzero(folds == "validation"))

    def positive_weights(self) -> torch.Tensor:
        """Return negatives by positives of the training fold, from 1 to a bound."""
        targets = self.targets[self.training]
        positives = (targets == 1).sum(dim=0)
        negatives = (targets == 0).sum(dim=0)
        return (negatives / positives.clamp(min=1)).clamp(1.0, _MOST_WEIGHT)


class _Run:
    """The epochs of one training."""

    def __init__(
        self,
        network: nn.Module,
        family: ClassifierFamily,
        data: _Data,
        weights: torch.Tensor,
        settings: TrainingSettings,
        generator: torch.Generator,
    ) -> None:
        self._network, self._family, self._data = network, family, data
        self._weights, self._settings, self._generator = weights, settings, generator
        self._variants = self._draw_variants()
        averaging = get_ema_multi_avg_fn(_AVERAGING)  # type: ignore[no-untyped-call]
        self._average = AveragedModel(network, multi_avg_fn=averaging, use_buffers=True)
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=_WEIGHT_DECAY
        )
        steps = max(1, -(-len(data.training) // settings.batch_size))
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            max_lr=settings.learning_rate * 3,
            total_steps=steps * settings.maximum_epochs,
            pct_start=0.2,
        )

    def fit(self, progress: Callable[[Epoch], None] | None) -> tuple[list[Epoch], _Best]:
        """Run epochs until the validation loss has not improved for ``patience`` of them.

        Not before half of the epochs: while the learning rate is high, the loss is rough.
        """
        curve: list[Epoch] = []
        best: _Best | None = None
        for number in range(1, self._settings.maximum_epochs + 1):
            epoch = Epoch(number, self._learn(number), *self._validate())
            curve.append(epoch)
            if progress is not None:
                progress(epoch)
            if best is None or epoch.validation_loss < best.loss:
                state = copy.deepcopy(self._average.module.state_dict())
                best = _Best(number, epoch.validation_loss, state)
            elif (
                number > self._settings.maximum_epochs / 2
                and number - best.epoch >= self._settings.patience
            ):
                break
        if best is None:
            raise Permanent("training had no epoch")
        return curve, best

    def _draw_variants(self) -> list[torch.Tensor]:
        transform = self._family.training_transform(self._settings.seed)
        crops = self._data.crops[self._data.training]
        count = min(_VARIANTS, self._settings.maximum_epochs)
        return [
            torch.stack([torch.as_tensor(transform(c)) for c in crops]).contiguous()
            for _ in range(count)
        ]

    def _learn(self, number: int) -> float:
        self._network.train()
        crops = self._variants[number % len(self._variants)]
        targets = self._data.targets[self._data.training]
        losses = []
        order = torch.randperm(len(crops), generator=self._generator)
        for rows in torch.split(order, self._settings.batch_size):
            if len(rows) < 2:  # batch normalisation needs more than one sample
                continue
            loss = masked_loss(self._network(crops[rows]), targets[rows], self._weights)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            self._schedule.step()
            self._average.update_parameters(self._network)
            losses.append(float(loss.detach()))
        return float(np.mean(losses)) if losses else float("nan")

    def _validate(self) -> tuple[float, float | None]:
        rows = self._data.validation
        logits = predict_logits(self._average.module, self._data.crops[rows], self._family)
        targets = self._data.targets[rows]
        loss = float(masked_loss(logits, targets, self._weights))
        return loss, mean_auroc(hard(targets.numpy()), logits.numpy())


def masked_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross-entropy over the targets that are not NaN; 0 where all are.

    Targets are 0, 1 or probabilities between them; ``weights`` weigh what speaks for "present".
    """
    known = ~torch.isnan(targets)
    loss = nn.functional.binary_cross_entropy_with_logits(
        logits, torch.nan_to_num(targets), pos_weight=weights, reduction="none"
    )
    return (loss * known).sum() / known.sum().clamp(min=1)


def _check(
    samples: Sequence[DiscSample], observations: Sequence[str], family: ClassifierFamily
) -> None:
    folds: dict[str, str] = {}
    for sample in samples:
        if folds.setdefault(sample.patient_key, sample.fold) != sample.fold:
            raise Permanent("a patient lies in two folds")
        if sample.crop.shape != tuple(family.input_shape):
            raise Permanent("a sample's crop does not have the shape of the classifier's input")
    for fold in ("train", "validation"):
        if fold not in folds.values():
            raise Permanent(f"fold {fold} has no samples")
    given = target_matrix(samples, observations)
    if ((given < 0) | (given > 1)).any():
        raise Permanent("a target is no number from 0 to 1")
    targets = target_matrix([s for s in samples if s.fold == "train"], observations)
    for name, column in zip(observations, targets.T, strict=True):
        if not {0.0, 1.0} <= set(column.tolist()):
            raise Permanent(f"{name} lacks positive or negative samples in the training fold")


def _temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the temperature with the least loss on the validation fold (Guo et al., ICML 2017)."""
    ones = torch.ones(targets.shape[1])
    losses = [float(masked_loss(logits / t, targets, ones)) for t in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def _youden(truth: NDArray[np.floating], given: NDArray[np.float64]) -> float:
    false_positives, true_positives, cuts = roc_curve(truth, given)
    best = int(np.argmax(true_positives - false_positives))
    cut = float(cuts[best])
    below = given[given < cut]
    return float((cut + below.max()) / 2) if len(below) else cut
