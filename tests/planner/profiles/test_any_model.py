"""Models that the registry does not know: planned by replays at two micro-batches, and right at any other."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from click.testing import CliRunner

import planner
from planner.cli import main
from planner.models.foreign import Foreign
from planner.models.registry import recognize
from planner.problem.resolve import resolve_one
from planner.profiles import ahead, replayed
from planner.profiles.asked import Asked
from planner.replay import step
from planner.replay.extension import affine, blocks, resized
from planner.replay.extension.later import UnlikeError
from planner.replay.inspect import facts_of
from strategies import PLAIN, Checkpointing, Checkpoints, Lora, Precision, Strategy

TOLERANCE = 0.001
"""Largest relative difference, phase by phase: sizes are rounded to 512 bytes, which is not affine."""

SMALL = {"num_hidden_layers": 6, "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4}
CONFIGS: dict[str, tuple[Any, str]] = {
    "electra": (transformers.ElectraConfig(**SMALL, vocab_size=2000), "ElectraForMaskedLM"),
    "classifier": (transformers.ElectraConfig(**SMALL, vocab_size=2000), "ElectraForSequenceClassification"),
    "mt5": (transformers.MT5Config(d_model=64, d_ff=128, num_layers=5, num_heads=4), "MT5ForConditionalGeneration"),
    "vit-msn": (transformers.ViTMSNConfig(**SMALL, image_size=128, num_labels=10), "ViTMSNForImageClassification"),
    "mamba": (transformers.MambaConfig(num_hidden_layers=5, hidden_size=64, vocab_size=2000), "MambaForCausalLM"),
    "glm": (
        transformers.Glm4Config(**SMALL, num_key_value_heads=2, head_dim=64, vocab_size=2000, pad_token_id=0),
        "Glm4ForCausalLM",
    ),
    "words": (
        transformers.Glm4Config(
            **SMALL, num_key_value_heads=2, head_dim=64, vocab_size=20_000, pad_token_id=0, tie_word_embeddings=True
        ),
        "Glm4ForCausalLM",
    ),
    "wide": (
        transformers.Glm4Config(**SMALL, num_key_value_heads=2, head_dim=320, vocab_size=2000, pad_token_id=0),
        "Glm4ForCausalLM",
    ),
}  # fmt: skip


OF_WINDOWS = [*["sliding_attention"] * 9, *["full_attention"] * 3]
"""Kinds of the blocks of a model; without its middle ones, the last are at other places."""

FSDP2 = {"gpus": 2, "sharding": "full_shard"}
FSDP1 = {**FSDP2, "sharding_backend": "fsdp1"}


def config_file(name: str, folder: Path) -> str:
    config, architecture = CONFIGS[name]
    file = folder / f"{name}.json"
    file.write_text(json.dumps({**config.to_dict(), "architectures": [architecture]}, default=str))
    return str(file)


@pytest.mark.parametrize(
    ("model", "choices"),
    [
        ("electra", {"precision": "bf16-mixed", "gradient_accumulation_steps": 4}),
        ("classifier", {"precision": "bf16-true", "finetuning": "lora", "checkpointing": "full"}),
        ("mt5", {"precision": "bf16-mixed", "finetuning": "lora"}),
        ("mt5", {"precision": "fp32", "checkpointing": "full", "gpus": 2, "sharding": "full_shard"}),
        ("electra", {"precision": "bf16-mixed", "gradient_accumulation_steps": 3, **FSDP1}),
        ("electra", {"precision": "bf16-mixed", "gradient_accumulation_steps": 3, "gradient_sync": "each", **FSDP1}),
        ("vit-msn", {"precision": "bf16-mixed", "optimizer": "adamw-foreach"}),
        ("mamba", {"precision": "bf16-true"}),
        ("glm", {"precision": "bf16-mixed", "finetuning": "lora", "loss": "cut-cross-entropy"}),
        ("glm", {"precision": "bf16-true", "checkpointing": "full", "attention": "flash-attention-2"}),
        ("glm", {"precision": "bf16-mixed", "evaluation_batch_size": 11}),
        ("own_models:two_kinds", {"precision": "bf16-mixed", "evaluation_batch_size": 64}),
        ("own_models:two_kinds", {"precision": "bf16-mixed", "checkpointing": "full"}),
        ("own_models:two_kinds", {"precision": "bf16-mixed", "finetuning": "qlora"}),
    ],
    ids=str,
)
def test_the_profile_equals_a_replay_at_another_micro_batch(
    model: str, choices: dict[str, Any], tmp_path: Path
) -> None:
    name = config_file(model, tmp_path) if model in CONFIGS else model
    length = None if model == "vit-msn" else 16 if model == "mamba" else 64
    result = planner.verify(name, gpu="A100-40GB", sequence_length=length, micro_batch_size=40, **choices)
    phases = ("forward", "backward", "optimizer", *(["evaluation"] if "evaluation_batch_size" in choices else []))
    differences = {phase: result.phases[phase].difference for phase in phases}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_each_micro_batch_of_a_step_has_its_own_gradients_around_it(steps: int, tmp_path: Path) -> None:
    """The only one reduces its gradients, the first of several keeps them whole, one between finds and keeps them."""
    choices: dict[str, Any] = {"precision": "bf16-mixed", "checkpointing": "full", "gradient_accumulation_steps": steps}
    options = {"gpu": "A100-40GB", "sequence_length": 16, "micro_batch_size": 4}
    found = planner.verify(config_file("words", tmp_path), **options, **choices, **FSDP2)
    differences = {phase: of.difference for phase, of in found.phases.items()}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)


def test_the_work_of_a_profile_is_that_of_its_products() -> None:
    """A product has 2 x tokens x rows x columns FLOPs in forward, and twice as many in backward, at any micro-batch."""
    length = 32
    axes = {"precision": ("fp32",)}
    problem, _, _ = resolve_one("own_models:of_products", "T4", None, axes, {"sequence_length": length}, 1, 1)
    work = problem.memory.work(problem.strategy())
    assert work.fp32_flops_per_sample == 3 * 2 * length * (6 * 2 * 64 * 256 + 64 * 500)
    assert work.half_flops_per_sample == 0
    assert work.fixed_bytes >= 0


def test_what_checkpointing_computes_again_is_no_work_of_the_model() -> None:
    """The second product of a block is not computed again, since backward needs its input and not its result."""
    length = 32
    axes = {"precision": ("fp32",), "checkpointing": ("full",)}
    problem, _, _ = resolve_one("own_models:of_products", "T4", None, axes, {"sequence_length": length}, 1, 1)
    work, again = (of(problem.strategy()) for of in (problem.memory.work, problem.memory.recomputation))
    assert again.fp32_flops_per_sample == 2 * length * 6 * 64 * 256
    assert work.fp32_flops_per_sample - again.fp32_flops_per_sample == 3 * 2 * length * (6 * 2 * 64 * 256 + 64 * 500)
    assert work.kernels > 6 * 3 * 4


def test_attention_computes_as_much_by_every_kernel(tmp_path: Path) -> None:
    name = config_file("glm", tmp_path)
    found = []
    for attention in ("sdpa", "flash-attention-2", "flash-attention-3"):
        axes = {"precision": ("bf16-true",), "checkpointing": ("full",), "attention": (attention,)}
        problem, _, _ = resolve_one(name, "H100-80GB", None, axes, {"sequence_length": 256}, 1, 1)
        work, again = (of(problem.strategy()) for of in (problem.memory.work, problem.memory.recomputation))
        found.append((work.half_flops_per_sample, again.half_flops_per_sample))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("model", "choices", "reason"),
    [
        ("mamba", {"attention": "flash-attention-2"}, "transformers runs .* without flash-attn"),
        ("wide", {"attention": "flash-attention-2"}, "up to 256, and these have 320"),
        ("glm", {"loss": "chunked"}, "those of chunked, which computes tile by tile, are not"),
        ("electra", {"loss": "cut-cross-entropy"}, "known for the registry's families only"),
    ],
)
def test_what_replays_cannot_tell_is_refused(model: str, choices: dict[str, Any], reason: str, tmp_path: Path) -> None:
    file = config_file(model, tmp_path)
    with pytest.raises(planner.PlannerError, match=reason):
        planner.estimate(file, gpu="H100-80GB", sequence_length=64, precision="bf16-true", **choices)


def test_one_replay_of_many_samples_tells_what_two_of_few_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = recognize(config_file("classifier", tmp_path))
    assert isinstance(foreign, Foreign)
    setting = PLAIN._replace(
        precision=Precision.BF16_MIXED, finetuning=Lora(), checkpointing=Checkpoints(Checkpointing.FULL)
    )
    of_one = replayed.replayed(Asked(foreign, setting, 64, 1))
    monkeypatch.setattr(resized, "PRIMES", ())
    assert of_one == replayed.replayed(Asked(foreign, setting, 64, 1))


@pytest.mark.parametrize(
    ("model", "setting"),
    [
        ("classifier", PLAIN._replace(precision=Precision.BF16_MIXED, finetuning=Lora())),
        ("mt5", PLAIN._replace(precision=Precision.BF16_TRUE, checkpointing=Checkpoints(Checkpointing.FULL))),
    ],
    ids=["adapters", "tied embeddings"],
)
def test_a_later_micro_batch_is_told_by_the_first(
    model: str, setting: Strategy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = recognize(config_file(model, tmp_path))
    assert isinstance(foreign, Foreign)
    of_one = replayed.replayed(Asked(foreign, setting, 64, 1))

    def unlike(*_: object) -> None:
        raise UnlikeError("two of them are replayed")

    monkeypatch.setattr(affine, "again", unlike)
    assert of_one == replayed.replayed(Asked(foreign, setting, 64, 1))


def test_blocks_that_are_left_out_leave_their_lines_in_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OLMo 3 looks up each block's mask by its place; here the sliding blocks have one, and the others have none."""
    config = transformers.Olmo3Config(
        **{**SMALL, "num_hidden_layers": 12}, vocab_size=2000, sliding_window=32, layer_types=OF_WINDOWS
    )
    file = tmp_path / "olmo3.json"
    file.write_text(json.dumps(config.to_dict(), default=str))
    foreign = recognize(str(file))
    assert isinstance(foreign, Foreign)
    of_few = replayed.replayed(Asked(foreign, PLAIN, 64, 1))
    monkeypatch.setattr(step, "shorten", lambda model, kept: blocks.shorten(model, 0))
    assert of_few == replayed.replayed(Asked(foreign, PLAIN, 64, 1))


def test_several_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"gpu": "A100-40GB", "sequence_length": 64, "finetuning": ["full", "lora"], "precision": "bf16-mixed"}
    name = config_file("classifier", tmp_path)
    monkeypatch.setattr(ahead, "forked", lambda tasks: 1)
    of_one = planner.fit(name, **options)
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(ahead, "forked", lambda tasks: 2)
    told: list[str] = []
    of_two = planner.fit(name, **options, progress=told.append)
    assert of_two.plans == of_one.plans
    assert any("settings in 2 processes" in line for line in told)


@pytest.mark.parametrize("name", ["mt5-small", "bart-base", "electra-small", "starcoderbase-1b", "gpt-neo-125m"])
def test_a_name_that_no_family_describes_has_the_parameters_that_the_registry_says(name: str) -> None:
    """mT5's head is not its embedding, though transformers ties both where it is asked to tie weights."""
    found = recognize(name)
    assert isinstance(found, Foreign)
    assert facts_of(found.source, PLAIN).num_parameters == found.num_parameters


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("own_models:broken", "failed with KeyError: 'width' (", "run it once"),
        ("own_models:no_module", "returned int", "torch.nn.Module"),
        ("own_models:missing", "no function 'missing'", "package.module:function"),
        ("own_models:no_loss", "there is no loss", "a scalar"),
        ("nowhere.at_all:model", "ModuleNotFoundError", "run it once"),
        ("unfed_models:linear", "the inputs of Linear cannot be told", "example_inputs(micro_batch_size"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_replayed_says_why(model: str, message: str, hint: str) -> None:
    result = CliRunner().invoke(main, ["fit", model, "--gpu", "T4", "--sequence-length", "32"])
    assert result.exit_code == 2
    assert message in result.stderr
    assert hint in result.stderr
    assert "Traceback" not in result.stderr


def test_images_have_one_length(tmp_path: Path) -> None:
    with pytest.raises(planner.ContradictionError, match=r"a sample of .* has 65 tokens"):
        planner.fit(config_file("vit-msn", tmp_path), gpu="T4", sequence_length=64)
    with pytest.raises(planner.ContradictionError, match=r"a sample of vit-base-patch16-224 has 197 tokens"):
        planner.fit("vit-base-patch16-224", gpu="T4", sequence_length=64)


def test_ways_out_are_what_kept_replays_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = config_file("electra", tmp_path)
    asked: dict[str, Any] = {"sequence_length": 64, "precision": "bf16-true"}
    for checkpointing in ("none", "full"):  # both are kept from here on
        planner.estimate(name, gpu="A100-40GB", checkpointing=checkpointing, **asked)
    monkeypatch.setattr(replayed, "replayed", lambda *_: pytest.fail("something is replayed"))
    found = planner.estimate(name, gpu="24GiB", micro_batch_size=20_000, checkpointing="none", **asked)
    assert not found.memory.fits
    changed = [way.options for way in found.ways]
    assert {"checkpointing": "full"} in changed
    assert any("micro-batch-size" in options for options in changed)
    assert any("gpu" in options for options in changed)
    for way in found.ways:
        assert CliRunner().invoke(main, way.command.split()[1:]).exit_code == 0, way.command
