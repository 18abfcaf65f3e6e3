"""No choice falls through: a member that nothing computes is refused by its name, not taken for another one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from planner import PlannerError, estimate
from planner.memory.accounts import ACCOUNTS
from strategies import OPTIONS, Attention, Choice, ContradictionError, Loss, Optimizer, Option
from strategies.accounts import BY_FACTS

ROOT = Path(__file__).parents[2]
CHOSEN = [option for option in OPTIONS.values() if isinstance(option.kind, type)]
"""Options whose values are members."""

WITH_DUMMIES = """
import json, sys
from strategies import OPTIONS, PLAIN, Choice, Strategy

CHOSEN = [option for option in OPTIONS.values() if isinstance(option.kind, type)]
for option in CHOSEN:
    option.kind.open_to = classmethod(lambda cls: (object,))
    option.kind.add("dummy", "a member of a test's", next(iter(option.kind)).facts)

from planner import PlannerError, estimate, verify


def asked(option):
    owner = {name: str(owners[0]) for name, owners in option.owners().items()}
    return {**owner, option.name: "dummy", "gpus": 1 if "no_shard" in owner.values() else 2}


def told(ask, option):
    try:
        return ask("smollm2-135m", gpu="A100-40GB", **asked(option)).memory.process_bytes
    except PlannerError as error:
        return str(error)


def replayed(option):
    from planner.replay import Workload, replay

    options = {**PLAIN.to_options(), **{name: owners[0] for name, owners in option.owners().items()}}
    if options["finetuning"] == "qlora":
        options["quantization"] = OPTIONS["quantization"].kind("nf4")
    strategy = Strategy.of({**options, option.name: option.kind("dummy")})
    return replay({"model_type": "llama"}, strategy, Workload(8, 1))


found = {option.name: told(estimate, option) for option in CHOSEN}
if "replay" in sys.argv:
    for option in CHOSEN:
        if option.name in ("precision", "checkpointing"):
            continue
        try:
            found[option.name] = repr(replayed(option))
        except PlannerError as error:
            found[option.name] = str(error)
print(json.dumps(found))
"""


def with_dummies(*arguments: str) -> dict[str, Any]:
    """What is answered about a member that every axis has been given, in a process of its own."""
    run = [sys.executable, "-c", WITH_DUMMIES, *arguments]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_member_without_an_account_is_refused_by_its_name() -> None:
    found = with_dummies()
    assert found.keys() == {option.name for option in CHOSEN}
    for option in CHOSEN:
        if option.kind in BY_FACTS:
            (donor, *_) = option.kind  # type: ignore[misc]  # a Choice class
            assert (
                found[option.name]
                == estimate("smollm2-135m", gpu="A100-40GB", gpus=2, **{option.name: donor}).memory.process_bytes
            )
        else:
            assert "dummy" in str(found[option.name]), (option.name, found[option.name])


def test_a_member_without_a_builder_is_not_replayed() -> None:
    pytest.importorskip("torch")
    found = with_dummies("replay")
    for option in CHOSEN:
        if option.name not in ("precision", "checkpointing"):
            assert "dummy" in str(found[option.name]), (option.name, found[option.name])
            assert "replay" in str(found[option.name]) or "nothing says" in str(found[option.name])


def test_every_axis_says_who_computes_its_members() -> None:
    kinds: set[Any] = {option.kind for option in CHOSEN}
    assert kinds == {*BY_FACTS, *ACCOUNTS.known}
    for kind in kinds:
        assert all(ACCOUNTS.has(choice) for choice in kind)


def owned(option: Option) -> dict[str, Any]:
    """What an option's values refine."""
    return {name: owners[0] for name, owners in option.owners().items()}


def members() -> Iterator[Any]:
    for option in CHOSEN:
        for choice in option.kind:  # type: ignore[union-attr]  # a Choice class
            yield pytest.param(option, choice, id=f"{option.name}={choice}")


@pytest.mark.parametrize(("option", "choice"), list(members()))
@pytest.mark.parametrize("gpus", [1, 2])
def test_every_member_is_planned_or_refused_with_a_reason(option: Option, choice: Choice, gpus: int) -> None:
    asked = {**owned(option), option.name: choice}
    try:
        plan = estimate("smollm2-135m", gpu="H100", gpus=gpus, **asked)
    except PlannerError:
        return  # any other exception is a door that is open
    assert getattr(plan.strategy, option.name) == choice
    assert plan.memory.process_bytes > 0


def test_a_closed_axis_takes_no_choice_of_a_plug_in() -> None:
    with pytest.raises(ContradictionError, match="attention takes no choices of plug-ins: what 'mine' means"):
        Attention.add("mine", "a kernel")
    assert "mine" not in list(Attention)


@pytest.mark.parametrize(("axis", "facts", "needed"), [(Optimizer, None, "Whole"), (Loss, 3, "NoneType")])
def test_an_open_axis_takes_facts_of_its_kinds_alone(axis: type[Choice], facts: Any, needed: str) -> None:
    with pytest.raises(ContradictionError, match=f"has facts of type {type(facts).__name__}") as refused:
        axis.add("mine", "something", facts)
    assert needed in refused.value.hint
    assert "mine" not in list(axis)
