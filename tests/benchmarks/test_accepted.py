"""Names that files are read and written with are those of the clients, and a client that refuses is noticed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from exports.accepted import CLIENTS, broken, problem
from exports.written import exports

from planner import estimate, export
from planner.readers.trainer.shared import OPTIMIZERS

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


UNSAID = {
    # It freezes no blocks, checkpoints them whole, and computes in bf16 what it loads in bf16.
    "trl": {"finetuning freeze": 2, "checkpointing selective-matmuls": 2, "precision bf16-true": 1, "cannot run": 1},
    # It makes adapters over 16-bit weights fp32.
    "llama-factory": {"adapter-dtype weights": 6, "checkpointing": 3},
    # It freezes no blocks, and keeps full fine-tuning in the dtype of loading.
    "axolotl": {"finetuning freeze": 5, "precision bf16": 2},
}
"""Of the first 25 random plans of each framework, how many of its own files cannot say, by the choice."""


@pytest.mark.parametrize("target", UNSAID)
def test_what_a_framework_cannot_say_of_its_own_plans_is_counted_by_the_choice(target: str) -> None:
    reasons = [files for files in islice(exports(target), 25) if isinstance(files, str)]
    for reason in reasons:
        assert any(name in reason for name in UNSAID[target]), reason
    for name, most in UNSAID[target].items():
        assert sum(name in reason for reason in reasons) <= most
