"""Attention kernels run on the dtypes and the GPUs that their libraries build them for."""

from __future__ import annotations

from strategies import AXES, Attention
from strategies.attention import AttentionFacts


def test_flash_attention_takes_half_precision_on_the_gpus_that_it_is_built_for() -> None:
    assert {choice: choice.facts for choice in Attention} == {
        Attention.EAGER: AttentionFacts(half_only=False, capability=None),
        Attention.SDPA: AttentionFacts(half_only=False, capability=None),
        Attention.SDPA_EFFICIENT: AttentionFacts(half_only=False, capability=None),
        Attention.FLASH_2: AttentionFacts(half_only=True, capability=(8.0, 12.1)),  # Ampere or newer
        Attention.FLASH_3: AttentionFacts(half_only=True, capability=(9.0, 9.0)),  # sm90a
        Attention.FLEX: AttentionFacts(half_only=False, capability=None),
    }


def test_attention_is_one_choice_that_nothing_refines() -> None:
    axis = AXES["attention"]
    assert [option.name for option in axis.options] == ["attention"]
    assert axis.choices.phrase == "{} attention"
    assert axis.value({"attention": Attention.FLEX}) is Attention.FLEX
