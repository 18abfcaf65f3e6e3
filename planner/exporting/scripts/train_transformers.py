"""Trains a causal language model with transformers' Trainer, as train.yaml says.

    sh run.sh --train_data data.jsonl                 # as planned, on all GPUs
    python train.py --max_steps 3                     # on one; what the command line says wins over train.yaml

Data are JSON lines with "text" or "input_ids", or the id of a dataset on the Hugging Face Hub with a column "text".
"""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from measure import Measure
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    HfArgumentParser,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.modeling_layers import GradientCheckpointingLayer

HERE = Path(__file__).parent


@dataclass
class Run:
    """What train.yaml says beside TrainingArguments."""

    model_name_or_path: str | None = None
    config_file: str | None = None  # in place of a model: random weights of a config.json beside this script
    dtype: str = "float32"
    attn_implementation: str = "sdpa"
    compile_blocks: bool = False
    # data
    train_data: str | None = None
    eval_data: str | None = None
    sequence_length: int = 2048
    batching: str = (
        "full"  # samples joined and cut; "padded": one a row; "packed": several a row, apart from each other
    )
    # what trains
    use_peft: bool = False
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_target_modules: list[str] | None = None
    use_rslora: bool = False
    use_dora: bool = False
    adapter_dtype: str = "float32"
    train_modules: list[str] | None = None  # "embeddings", "head": they train beside adapters or the last blocks
    train_last_blocks: int | None = None
    train_biases_only: bool = False
    trained_dtype: str = "float32"  # of the blocks or biases that train
    # bitsandbytes
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    use_bnb_nested_quant: bool = False
    bnb_4bit_compute_dtype: str = "bfloat16"
    bnb_4bit_quant_storage: str = "uint8"
    prepare_for_kbit_training: bool = False  # what is not quantized becomes fp32


def arguments() -> tuple[Run, TrainingArguments]:
    """Returns train.yaml, with what the command line says in its place."""
    parser = HfArgumentParser((Run, TrainingArguments))
    said = yaml.safe_load((HERE / "train.yaml").read_text())
    if not torch.cuda.is_available():
        print("no GPU here: this runs on the CPU")
        said |= {"use_cpu": True, "tf32": None}
    parser.set_defaults(**said)
    run, args, *unknown = parser.parse_args_into_dataclasses()
    if unknown:
        raise SystemExit(f"train.yaml has unknown keys: {unknown[0]}")
    return run, args


def load(run: Run) -> Any:
    """Returns the model, quantized where the run says so."""
    how = {"dtype": getattr(torch, run.dtype), "attn_implementation": run.attn_implementation}
    quantized = quantization(run)
    if run.config_file is None:
        model = AutoModelForCausalLM.from_pretrained(run.model_name_or_path, quantization_config=quantized, **how)
    else:
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(HERE / run.config_file), **how)
        if quantized is not None:  # which happens while weights are read
            with TemporaryDirectory() as folder:
                model.save_pretrained(folder)
                model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=quantized, **how)
    model.config.use_cache = False
    return model


def quantization(run: Run) -> BitsAndBytesConfig | None:
    """Returns how bitsandbytes stores the linear layers; None if it does not."""
    if not (run.load_in_4bit or run.load_in_8bit):
        return None
    return BitsAndBytesConfig(
        load_in_4bit=run.load_in_4bit,
        load_in_8bit=run.load_in_8bit,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=run.use_bnb_nested_quant,
        bnb_4bit_compute_dtype=getattr(torch, run.bnb_4bit_compute_dtype),
        bnb_4bit_quant_storage=getattr(torch, run.bnb_4bit_quant_storage),
    )


def adapt(model: Any, run: Run) -> Any:
    """Returns the model with LoRA adapters, which alone train."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if run.prepare_for_kbit_training:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    targets = run.lora_target_modules
    whole = named_modules(model, run)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=run.lora_r,
        lora_alpha=run.lora_alpha,
        lora_dropout=run.lora_dropout,
        target_modules="all-linear" if targets in (None, "all-linear", ["all-linear"]) else targets,
        modules_to_save=[name.rpartition(".")[2] for name, m in model.named_modules() if m in whole] or None,
        use_rslora=run.use_rslora,
        use_dora=run.use_dora,
    )
    model = get_peft_model(model, config, autocast_adapter_dtype=run.adapter_dtype == "float32")
    for name, parameter in model.named_parameters():
        if ".lora_" in name and "magnitude" not in name:
            parameter.data = parameter.data.to(getattr(torch, run.adapter_dtype))
    return model


def freeze(model: Any, run: Run) -> None:
    """Freezes all but the last blocks and the named modules, or all but the biases."""
    model.requires_grad_(False)
    if run.train_biases_only:
        chosen = [p for name, p in model.named_parameters() if name.rpartition(".")[2] == "bias"]
    else:
        modules = [*blocks(model)[-run.train_last_blocks :], *named_modules(model, run)]
        chosen = [p for module in modules for p in module.parameters()]
    for parameter in chosen:
        parameter.requires_grad_(True)
        parameter.data = parameter.data.to(getattr(torch, run.trained_dtype))


def named_modules(model: Any, run: Run) -> list[Any]:
    """Returns the modules of `train_modules`."""
    named = {"embeddings": model.get_input_embeddings, "head": model.get_output_embeddings}
    return [named[name]() for name in run.train_modules or ()]


def blocks(model: Any) -> list[Any]:
    """Returns the model's blocks."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def samples(data: str | None, run: Run, vocabulary: int) -> list[list[int]]:
    """Returns the token ids of each sample; without data, for random weights, they count upwards."""
    if data is None and run.config_file is not None:
        rows = torch.arange(512)[:, None] * 7 + torch.arange(run.sequence_length)
        return (rows % min(64, vocabulary)).tolist()
    if data is None:
        raise SystemExit("no data: --train_data FILE, JSON lines with text or input_ids, or the id of a dataset")
    if Path(data).exists():
        found = [json.loads(line) for line in Path(data).read_text().splitlines() if line.strip()]
    else:
        from datasets import load_dataset

        found = list(load_dataset(data, split="train"))
    if found and "input_ids" in found[0]:
        return [list(row["input_ids"]) for row in found]
    tokenizer = AutoTokenizer.from_pretrained(run.model_name_or_path)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return [tokenizer(row["text"])["input_ids"] + end for row in found]


def rows(found: list[list[int]], run: Run) -> list[dict[str, list[int]]]:
    """Makes the rows of batches out of samples, as `batching` says; they are no longer than `sequence_length`."""
    length = run.sequence_length
    if run.batching == "full":
        joined = [token for sample in found for token in sample]
        return [{"input_ids": joined[at : at + length]} for at in range(0, len(joined) - length + 1, length)]
    found = [sample[:length] for sample in found]
    if run.batching == "padded":
        return [{"input_ids": sample} for sample in found]
    packed: list[list[list[int]]] = [[]]
    for sample in found:
        if sum(map(len, packed[-1])) + len(sample) > length:
            packed.append([])
        packed[-1].append(sample)
    return [
        {
            "input_ids": [token for sample in row for token in sample],
            "position_ids": [at for sample in row for at in range(len(sample))],
        }
        for row in packed
    ]


class Collator:
    """Makes a batch: rows of one length stay as they are, others are padded at their ends."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Returns ids and labels, with a mask where samples are padded, and positions where they are packed."""
        sizes = [len(row["input_ids"]) for row in batch]
        longest = self.run.sequence_length if self.run.batching == "packed" else max(sizes)
        ids = torch.tensor([row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in batch])
        real = torch.arange(longest) < torch.tensor(sizes)[:, None]
        made = {"input_ids": ids, "labels": ids.masked_fill(~real, -100)}
        if self.run.batching == "padded":
            made["attention_mask"] = real.long()
        if self.run.batching == "packed":
            positions = [[*row["position_ids"], *range(longest - len(row["input_ids"]))] for row in batch]
            made["position_ids"] = torch.tensor(positions)
            made["labels"] = made["labels"].masked_fill(made["position_ids"] == 0, -100)
        return made


class Measured(TrainerCallback):
    """Writes measured.jsonl by measure.py; leave it out of `callbacks` below to do without."""

    def __init__(self) -> None:
        self.measure = Measure()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes the time."""
        self.measure.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes the time."""
        self.measure.end()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Keeps the loss."""
        self.measure.losses += [float(logs["loss"])] if "loss" in (logs or {}) else []

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Writes the line."""
        if state.is_world_process_zero:
            sequences = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
            self.measure.write(model, sequences)


def main() -> None:
    """Trains."""
    run, args = arguments()
    set_seed(args.seed)
    model = load(run)
    if run.use_peft:
        model = adapt(model, run)
    elif run.train_last_blocks or run.train_biases_only:
        freeze(model, run)
    if run.compile_blocks:
        for block in blocks(model):
            block.compile()
    vocabulary = model.config.get_text_config().vocab_size
    evaluates = args.eval_strategy != "no"
    trainer = Trainer(
        model,
        args,
        train_dataset=rows(samples(run.train_data, run, vocabulary), run),
        eval_dataset=rows(samples(run.eval_data, run, vocabulary), run) if evaluates else None,
        data_collator=Collator(run),
        callbacks=[Measured()],
    )
    trainer.train()
    if args.save_strategy != "no":
        trainer.save_model()


if __name__ == "__main__":
    main()
