"""Two processes that learn together end where one does, but for the order of sums."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.distributed_training import run
from training.learning.distributed import ALONE, joined


def test_the_result_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", "tests.distributed_training", str(path)],
        capture_output=True,
        text=True,
        timeout=150,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    alone = run(ALONE)
    with safe_open(path, framework="pt") as file:
        # 7 in a batch: the two processes never hold as many examples, nor known targets.
        for name, value in alone.state.items():
            torch.testing.assert_close(file.get_tensor(name), value, rtol=1e-3, atol=1e-4)
        losses = [float(each) for each in file.metadata()["losses"].split()]
    wanted = [part for e in alone.curve for part in (e.training_loss, e.validation_loss)]
    assert losses == pytest.approx(wanted, abs=1e-4)
    assert path.with_suffix(".checkpoint").exists()


def test_without_torchrun_one_process_learns_alone() -> None:
    with joined({}) as group:
        assert group is ALONE
