"""A training that is killed goes on bit for bit; a checkpoint that is not its own is refused."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from tests.tiny_architecture import Tiny, examples, heads, options
from training.learning.checkpoint import UnusableCheckpoint
from training.learning.loop import Learned, learn

EPOCHS = 6

CHILD = """
import sys, time
from pathlib import Path
from tests.tiny_architecture import Tiny, examples, heads, options
from training.learning.loop import learn

class Slow(Tiny):
    # So that the kill comes in the middle of an epoch; the numbers are those of Tiny.
    def collate(self, found, given):
        time.sleep(0.05)
        return super().collate(found, given)

given = examples()
learn(Slow(), given, heads(given), options(epochs={epochs}), checkpoint=Path(sys.argv[1]),
      progress=lambda line: print(line, flush=True))
"""


def state_digest(learned: Learned) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(learned.state.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def run(path: Path | None, **changes: object) -> Learned:
    given = examples()
    return learn(Tiny(), given, heads(given), options(epochs=EPOCHS, **changes), checkpoint=path)


def kill_after(path: Path, epochs: int) -> None:
    """Run a training in a child and kill it in the middle of the epoch after so many."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(epochs=EPOCHS), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[4],
    )
    assert child.stdout is not None
    for _ in range(epochs):
        assert child.stdout.readline().startswith("epoch ")
    time.sleep(0.1)  # into the next epoch, which takes at least four batches of 0.05 s
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()


def test_a_training_killed_twice_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    kill_after(path, 1)
    kill_after(path, 2)
    lines: list[str] = []
    given = examples()
    resumed = learn(
        Tiny(),
        given,
        heads(given),
        options(epochs=EPOCHS),
        checkpoint=path,
        progress=lines.append,
    )
    assert 0 < len(lines) <= EPOCHS - 3  # what the children did is not done again
    whole = run(None)
    assert state_digest(resumed) == state_digest(whole)
    assert (resumed.temperature, resumed.best_epoch) == (whole.temperature, whole.best_epoch)
    told = [(e.epoch, e.training_loss, e.validation_loss, e.learning_rate) for e in whole.curve]
    assert told == [
        (e.epoch, e.training_loss, e.validation_loss, e.learning_rate) for e in resumed.curve
    ]


def test_a_training_that_is_over_learns_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    first = run(path)
    before = path.read_bytes()
    assert state_digest(run(path)) == state_digest(first)
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint"
    given = examples()
    # Over after one epoch, as patience would have it: begun with the options of ``run``.
    learn(Tiny(), given, heads(given), options(epochs=EPOCHS), checkpoint=path)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(written: bytes, share: float, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(written[: int(share * len(written))])
    with pytest.raises(UnusableCheckpoint, match="damaged"):
        run(path)


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9, 0.9999])
def test_one_changed_bit_is_found(written: bytes, where: float, tmp_path: Path) -> None:
    path, content = tmp_path / "checkpoint", bytearray(written)
    content[int(where * (len(content) - 1))] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UnusableCheckpoint, match=r"damaged|remove it"):
        run(path)


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(save({"network/a": torch.zeros(2)}, {"format": "other"}))
    with pytest.raises(UnusableCheckpoint, match="no checkpoint of this form"):
        run(path)


def test_a_checkpoint_of_another_training_is_refused(
    written: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(written)
    with pytest.raises(UnusableCheckpoint, match="with other options"):
        run(path, learning_rate=0.5)
    given = examples()
    other = [replace(given[0], input=given[0].input + 1), *given[1:]]
    with pytest.raises(UnusableCheckpoint, match="on other data"):
        learn(Tiny(), other, heads(given), options(epochs=EPOCHS), checkpoint=path)
    monkeypatch.setattr("training.learning.identity.CODE_FORM", -1)
    with pytest.raises(UnusableCheckpoint, match="another version of the program"):
        run(path)
    assert path.read_bytes() == written
