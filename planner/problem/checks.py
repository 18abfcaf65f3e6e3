"""Checks a request against the model, and its options against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from planner.models import Model
from planner.records.asked.request import Request
from strategies import (
    AXES,
    Attention,
    Batching,
    ContradictionError,
    Finetuning,
    Kernels,
    Lora,
    Loss,
    Option,
    Quantization,
)

if TYPE_CHECKING:  # torch is imported only for models that are planned by replays
    from planner.profiles import ProfiledModel


def check_target(model: Model | ProfiledModel, target_length: int | None) -> None:
    """Checks that the model takes targets of a length of their own, in tokens; None asks for none.

    Raises:
        ContradictionError: The model predicts the tokens that it reads, or has no position for the target's last one.
    """
    if target_length is None:
        return
    if not model.is_encoder_decoder:
        raise ContradictionError(
            f"target_length={target_length}, but {model.name} is no encoder-decoder: it predicts what it reads",
            "leave it out: --sequence-length counts prompt and answer",
        )
    check_sequence(model, "target_length", target_length)


def check_sequence(model: Model | ProfiledModel, name: str, sequence_length: int) -> None:
    """Checks that the model takes sequences of a length, in tokens, which the argument with this name asks for.

    Raises:
        ContradictionError: The model has no position for the last token, or all its samples have another length.
    """
    if model.tokens_per_sample not in (None, sequence_length):
        raise ContradictionError(
            f"{name}={sequence_length}, but a sample of {model.name} has {model.tokens_per_sample} tokens",
            f"--{name.replace('_', '-')} {model.tokens_per_sample}, or leave it out",
        )
    context = model.max_positions
    if context is not None and sequence_length > context and model.has_learned_positions:
        raise ContradictionError(
            f"{name}={sequence_length} is longer than the {context} learned positions of {model.name}",
            f"--{name.replace('_', '-')} {context}",
        )


def check_kernels(request: Request, model: Model | ProfiledModel) -> None:
    """Raises ContradictionError if no library has any of the requested kernels for the model, or none has an account.

    Of several, the search leaves out those that cannot run, and says so.
    """
    for axis, plainest in (("attention", Attention.EAGER), ("loss", Loss.FULL), ("kernels", Kernels.EAGER)):
        reasons = [model.unsupported(choice) for choice in getattr(request, axis)]
        if reasons and reasons[0] and all(reasons):
            raise ContradictionError(reasons[0], f"--{axis} {plainest}")
    if request.kernels != (Kernels.COMPILE,):
        return
    if request.batching is not Batching.FULL:
        raise ContradictionError(
            f"batching={request.batching}, but compiled blocks have an account for full sequences alone",
            "--batching full",
        )
    if request.evaluation_batch_size is not None:
        raise ContradictionError(
            f"evaluation_batch_size={request.evaluation_batch_size}, but compiled blocks have no account of evaluation",
            "leave it out",
        )


def check_refinements(request: Request) -> None:
    """Raises ContradictionError for an option that is given but applies to none of the requested choices."""
    for axis in AXES.values():
        for option in axis.refinements:
            given = [value for value in getattr(request, option.name) if value != option.hidden_default]
            if given:
                _check_owners(option, given[0], {name: getattr(request, name) for name in option.owners()})


def check_effect(request: Request, chosen: Mapping[str, Sequence[Any]]) -> None:
    """Raises ContradictionError for an option that is given but applies to none of the choices, defaults included."""
    for axis in AXES.values():
        for option in axis.refinements:
            given = getattr(request, option.name)
            if given and option.hidden_default not in given:
                _check_owners(option, given[0], chosen)


def _check_owners(option: Option, given: Any, chosen: Mapping[str, Sequence[Any]]) -> None:
    """Raises ContradictionError if an option applies to none of the choices; an option without values is open."""
    said = {name: values for name, values in chosen.items() if values}
    if option.can_refine(said):
        return
    name, owners = next(of for of in option.owners().items() if of[0] in said and not {*of[1]} & {*said[of[0]]})
    *others, last = owners
    having = f"{', '.join(others)} and {last} have it" if others else f"{last} has it"
    raise ContradictionError(
        f"{option.name}={given} is given, but only {having}",
        f"add --{name.replace('_', '-')} {owners[0]}",
    )


def check_lora(request: Request, model: Model | ProfiledModel) -> None:
    """Raises an error for qlora without quantization, and for LoRA targets that the model does not have."""
    if request.finetuning == (Finetuning.QLORA,) and request.quantization == (Quantization.NONE,):
        raise ContradictionError("qlora without quantization is lora", "--finetuning lora")
    for targets in request.lora_targets:
        Lora(targets=targets).check_targets(model.target_names, model.name)
