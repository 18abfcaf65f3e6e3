"""Names that files are read and written with are those of the clients, and a client that refuses is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from accepted import CLIENTS, broken, problem

from planner import estimate, export
from planner.readers.hugging_face import OPTIMIZERS

PLANS = (
    {"framework": "trl"},
    {"framework": "trl", "gpus": 2, "sharding_backend": "fsdp1", "offload": "cpu"},
    {"framework": "trl", "gpus": 2, "sharding_backend": "fsdp2", "sharding": "shard_grad_op"},
    {"framework": "trl", "gpus": 2, "sharding": "no_shard"},
)


def test_every_optimizer_is_one_of_transformers() -> None:
    from transformers.training_args import OptimizerNames

    assert set(OPTIMIZERS) <= {name.value for name in OptimizerNames}


@pytest.mark.parametrize("options", PLANS, ids=lambda options: "-".join(map(str, options.values())))
def test_accelerate_takes_a_launchers_file_and_refuses_nonsense(options: dict[str, str], tmp_path: Path) -> None:
    reads, _, _, nonsense = CLIENTS["accelerate"]
    file = tmp_path / "accelerate.yaml"
    file.write_text(export(estimate("llama-3.2-1b", gpu="A100-40GB", **options), "trl")["accelerate.yaml"])  # type: ignore[arg-type]
    assert problem(reads, file) is None
    for copy in broken(file, nonsense):
        assert problem(reads, copy) is not None
    for copy in broken(file, {"no_such_key": 1}):
        assert problem(reads, copy) is not None
