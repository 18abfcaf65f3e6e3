"""What users change in the files of an exported loop is refused where the loop would not do it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from exportable import planned

from planner import check, export


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("sharding", "tensor", "sharding tensor"),
        ("optimizer", "shampoo", "the optimizer shampoo"),
        ("autocast", "float8", "autocast to float8"),
        ("checkpointing", "some", "checkpointing some"),
        ("keep_outputs", "always", "outputs that are kept until always"),
        ("nonsense", 1, "keys that the program of this file would refuse: nonsense"),
    ],
)
def test_what_a_changed_loop_would_not_do_is_refused(key: str, value: Any, what: str, tmp_path: Path) -> None:
    files = export(planned(framework="transformers", gpus=2, sharding="full_shard"), "pytorch")
    said = {**yaml.safe_load(files["train.yaml"]), key: value}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(said))
    result = check(tmp_path / "train.yaml", gpu="A100-40GB", gpus=2)
    assert result.plan is None
    assert what in [refused.what for refused in result.refused]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"gradient_clipping": "auto"}, '"auto", which transformers fills in and DeepSpeed itself does not know'),
        ({"optimizer": {"type": "AdamW"}}, "an optimizer of the JSON beside the one that train.py makes"),
        ({"train_micro_batch_size_per_gpu": None}, "train_micro_batch_size_per_gpu is not said, which train.py reads"),
    ],
)
def test_what_deepspeeds_loop_would_not_do_with_a_json_is_refused(
    content: dict[str, Any], what: str, tmp_path: Path
) -> None:
    files = export(planned(framework="transformers", gpus=2, sharding="zero2"), "deepspeed")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "deepspeed.json").write_text(json.dumps({**json.loads(files["deepspeed.json"]), **content}))
    result = check(tmp_path / "train.yaml", gpu="A100-40GB", gpus=2)
    assert any(refused.what.startswith(what) for refused in result.refused)


@pytest.mark.parametrize(("target", "sharding"), [("pytorch", "full_shard"), ("deepspeed", "zero2")])
def test_changes_of_a_loop_are_diffs_of_its_settings(target: str, sharding: str, tmp_path: Path) -> None:
    plan = planned(framework="transformers", gpus=2, sharding=sharding, micro_batch_size=16)
    files = export(plan, target)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    result = check(tmp_path / "run.sh", gpu="A100-40GB")
    assert not result.fits
    change = next(change for change in result.changes if change.fits)
    for name, text in change.files.items():
        Path(name).write_text(text)
    again = check(tmp_path / "run.sh", gpu="A100-40GB")
    assert again.plan is not None
    assert again.plan.memory.process_bytes == change.process_bytes
    kept = {"train.yaml", "deepspeed.json"} | {Path(name).name for name in change.files}
    assert kept == {"train.yaml", "deepspeed.json"}
