"""One training for ``torchrun``: python -m torch.distributed.run ... -m tests.distributed_training.

Arguments: the file that takes the weights of the first process, and the number of observations.
"""

import sys
from pathlib import Path

from safetensors.torch import save_file

from tests.tiny_architecture import Tiny, examples, heads, options
from training.learning.distributed import Group, joined
from training.learning.loop import Learned, learn


def run(group: Group, checkpoint: Path | None = None) -> Learned:
    """Train without dropout, whose chance belongs to a process."""
    given = examples()
    return learn(
        Tiny(dropout=0.0),
        given,
        heads(given),
        options(epochs=3, batch_size=7),
        checkpoint=checkpoint,
        group=group,
    )


def main() -> None:
    path = Path(sys.argv[1])
    with joined() as group:
        learned = run(group, path.with_suffix(".checkpoint"))
        if group.leads:
            losses = " ".join(f"{e.training_loss} {e.validation_loss}" for e in learned.curve)
            save_file(learned.state, path, {"losses": losses})


if __name__ == "__main__":
    main()
