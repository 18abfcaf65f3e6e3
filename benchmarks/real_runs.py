"""Compares replays with real runs of the same step on the CPU, byte by byte, for small models.

    python benchmarks/real_runs.py               # print the table, about five minutes
    python benchmarks/real_runs.py llama qwen3   # of some models
    python benchmarks/real_runs.py offloaded     # DeepSpeed with its optimizer on the host: compiles it first

torch's profiler records real runs, and replays use the CPU's kernels. Scratch memory that CPU kernels allocate for
themselves is left out (planner/replay/real/profiled.py, `WORKSPACES`). The last cases run two processes over gloo, with
FSDP2, FSDP1 and DeepSpeed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from planner.replay import Phase, Workload, replay
from planner.replay.backend import CPU
from planner.replay.real.gloo import run_on_ranks
from planner.replay.real.run import run_on_cpu
from strategies import (
    PLAIN,
    Attention,
    Checkpointing,
    Checkpoints,
    DataParallel,
    Fsdp1,
    Fsdp2,
    Full,
    GradientSync,
    Lora,
    Method,
    Offload,
    Optimizer,
    Precision,
    Replicated,
    Sharding,
    Strategy,
    Zero,
)

C = TypeVar("C")

COMMON = {
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}
TINY: Mapping[str, dict[str, Any]] = {
    **{name: {**COMMON, "model_type": name} for name in ("llama", "qwen2", "olmo2", "granite")},
    **{name: {**COMMON, "model_type": name, "head_dim": 32} for name in ("qwen3", "gemma", "gemma3_text")},
    "phi3": {**COMMON, "model_type": "phi3", "pad_token_id": 0},
    "mistral": {**COMMON, "model_type": "mistral", "sliding_window": 64},
    "gpt_neox": {**COMMON, "model_type": "gpt_neox", "intermediate_size": 512},
    "opt": {**COMMON, "model_type": "opt", "ffn_dim": 512, "word_embed_proj_dim": 128, "num_hidden_layers": 2},
    "gpt2": {"model_type": "gpt2", "n_embd": 128, "n_layer": 2, "n_head": 4, "vocab_size": 1000, "n_positions": 512},
    "bert": {**COMMON, "model_type": "bert", "architectures": ["BertForMaskedLM"]},
    "classifier": {**COMMON, "model_type": "roberta", "architectures": ["RobertaForSequenceClassification"]},
    "tagger": {**COMMON, "model_type": "bert", "architectures": ["BertForTokenClassification"], "num_labels": 9},
    "llama, few words": {**COMMON, "model_type": "llama", "vocab_size": 128},
    "deep llama": {**COMMON, "model_type": "llama", "num_hidden_layers": 8},
}
"""Fields of config.json, by `model_type` except for classifiers and the last two.

"llama, few words" peaks in the backward pass of a block instead of the loss; "deep llama" has more blocks than a replay
keeps of a run of equal blocks."""


class Case(NamedTuple):
    """Describes a model and a strategy to compare."""

    model: str
    precision: str = "fp32"
    optimizer: str = "adamw"
    method: Method = Full()
    checkpointing: str = "none"
    attention: str = "sdpa"
    sharding: DataParallel = Replicated()
    accumulation: int = 1

    def __str__(self) -> str:
        method = "lora" if isinstance(self.method, Lora) else "full"
        options = self.sharding.to_options()
        sharding = " ".join(str(options[name]) for name in OF_SHARDING if name in options)
        others = self.precision, self.optimizer, self.checkpointing, self.attention, sharding
        return " ".join([self.model, method, *others, f"x{self.accumulation}"])

    @property
    def strategy(self) -> Strategy:
        return PLAIN._replace(
            precision=Precision(self.precision),
            optimizer=Optimizer(self.optimizer),
            finetuning=self.method,
            checkpointing=Checkpoints(Checkpointing(self.checkpointing)),
            sharding=self.sharding,
            attention=Attention(self.attention),
        )

    @property
    def ranks(self) -> int:
        return 1 if self.sharding == Replicated() else 2

    @property
    def workload(self) -> Workload:
        """Returns 2 sequences of 128 tokens, twice the attention window of `mistral`."""
        return Workload(128, 2, self.accumulation, world_size=self.ranks)


OF_SHARDING = "sharding_backend", "sharding", "gradient_sync", "offload"
"""Options of a sharding that tell cases apart."""

LORA = Lora(8, "all-linear")

CASES = (
    Case("llama"),
    Case("llama", "bf16-true", "adafactor", accumulation=3),
    Case("llama", "bf16-true", method=LORA, checkpointing="full"),
    Case("gpt2", "bf16-true"),
    Case("gpt2", "bf16-mixed", "adamw-foreach", checkpointing="full"),
    Case("gpt_neox", "fp16-mixed", accumulation=2),
    Case("gpt_neox", "bf16-true", method=LORA, attention="eager"),
    Case("opt", "bf16-true", attention="eager", checkpointing="full"),
    Case("opt", "bf16-mixed", method=LORA),
    Case("qwen2", "bf16-mixed", "sgd-momentum", accumulation=2),
    Case("qwen3", "bf16-mixed", method=LORA),
    Case("gemma", "bf16-mixed", "adafactor", checkpointing="full"),
    Case("gemma3_text", "fp32", "adamw-foreach"),
    Case("phi3", "fp32", method=LORA, accumulation=2),
    Case("classifier", "bf16-mixed", method=LORA, accumulation=2),
    Case("tagger", "bf16-true", method=LORA),
    Case("mistral", "bf16-mixed", attention="eager", checkpointing="full"),
    Case("mistral"),
    Case("olmo2", "bf16-true", "sgd", checkpointing="full"),
    Case("granite", "bf16-mixed", "adamw-foreach", attention="eager"),
    Case("llama, few words", checkpointing="full"),
    Case("deep llama", "bf16-mixed", accumulation=2),
    Case("llama", sharding=Fsdp2()),
    Case("llama", "bf16-mixed", sharding=Fsdp2(Sharding.SHARD_GRAD_OP)),
    Case("qwen3", "bf16-mixed", sharding=Fsdp2(), checkpointing="full", accumulation=2),
    Case("llama", "bf16-mixed", method=LORA, sharding=Fsdp2(), accumulation=2),
    Case("llama", sharding=Fsdp1()),
    Case("llama", "bf16-true", sharding=Fsdp1(), checkpointing="full"),
    Case("llama", "bf16-mixed", sharding=Fsdp1(Sharding.SHARD_GRAD_OP), accumulation=2),
    Case("llama", "bf16-mixed", sharding=Fsdp1(gradient_sync=GradientSync.EACH), accumulation=2),
    Case("llama", "bf16-mixed", sharding=Fsdp1(), checkpointing="full-reentrant"),
    Case("qwen3", "bf16-true", method=LORA, sharding=Fsdp1(), checkpointing="full-reentrant", accumulation=2),
    Case("qwen3", "bf16-mixed", method=LORA, sharding=Fsdp1(), checkpointing="full", accumulation=2),
    Case("llama", "bf16-mixed", attention="eager", sharding=Zero(Sharding.ZERO1), accumulation=2),
    Case("qwen2", "bf16-mixed", method=LORA, attention="eager", sharding=Zero(Sharding.ZERO1)),
    Case("llama", "bf16-mixed", attention="eager", sharding=Zero(Sharding.SHARD_GRAD_OP)),
    Case("qwen2", "bf16-true", method=LORA, attention="eager", sharding=Zero(Sharding.SHARD_GRAD_OP)),
    Case("llama", "bf16-mixed", attention="eager", sharding=Zero(Sharding.FULL_SHARD), accumulation=2),
    Case("llama", "bf16-mixed", method=LORA, attention="eager", sharding=Zero(Sharding.FULL_SHARD)),
)

_ON_HOST = Case("llama", "bf16-mixed", attention="eager")

OFFLOADED = (
    _ON_HOST._replace(sharding=Zero(Sharding.SHARD_GRAD_OP, Offload.OPTIMIZER)),
    _ON_HOST._replace(sharding=Zero(Sharding.ZERO1, Offload.OPTIMIZER), method=LORA),
    _ON_HOST._replace(sharding=Zero(Sharding.FULL_SHARD, Offload.OPTIMIZER)),
    _ON_HOST._replace(sharding=Zero(Sharding.FULL_SHARD, Offload.CPU)),
)
"""Cases of which DeepSpeedCPUAdam is compiled before the first of them runs, which takes minutes."""


class Comparison(NamedTuple):
    """Holds the peak bytes of each phase in the real run and in the replay."""

    real: dict[Phase, int]
    replayed: dict[Phase, int]
    left_out: dict[str, int]
    """Bytes of the largest scratch memory of each kind of kernel."""

    @property
    def differences(self) -> dict[Phase, float]:
        """Returns the relative difference, (replay - real) / real, of each phase that was run."""
        phases = [phase for phase in Phase if phase is not Phase.LOADING and self.real[phase]]
        return {phase: self.replayed[phase] / self.real[phase] - 1 for phase in phases}


def compare(case: Case) -> Comparison:
    fields, strategy, workload = TINY[case.model], case.strategy, case.workload
    replayed = replay(fields, strategy, workload, backend=CPU).peaks()
    run = (run_on_ranks if case.ranks > 1 else run_on_cpu)(fields, strategy, workload)
    return Comparison(run.trace.peaks(), replayed, run.workspaces)


def table(cases: Sequence[C], compare: Callable[[C], Comparison], width: int) -> Iterator[str]:
    """Yields the lines of a table of cases, whose names take `width` columns."""
    yield f"{'case':<{width}}{'phase':<11}{'real run':>12}{'replay':>12}  difference"
    worst = 0.0
    for case in cases:
        comparison = compare(case)
        for i, (phase, difference) in enumerate(comparison.differences.items()):
            numbers = f"{comparison.real[phase]:>12}{comparison.replayed[phase]:>12}{difference:>+12.4%}"
            yield f"{'' if i else case!s:<{width}}{phase:<11}{numbers}"
            worst = max(worst, abs(difference))
        yield "  left out: " + (", ".join(f"{k} {v}" for k, v in comparison.left_out.items()) or "nothing")
    yield f"{len(cases)} cases, largest difference {worst:.4%}"


if __name__ == "__main__":
    wanted = [case for case in CASES if not sys.argv[1:] or case.model in sys.argv[1:]]
    wanted += OFFLOADED if "offloaded" in sys.argv[1:] else ()
    for line in table(wanted, compare, 74):
        print(line, flush=True)
