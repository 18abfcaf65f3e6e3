"""Losses without logits: how many there are at once, and the micro-batch that this leaves room for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.decomposition import select_decomp_table
from torch.nn import functional

from hardware import Cluster, load_catalog
from planner.memory import MemoryModel, TracedModel
from planner.memory.losses.fused import chunk_tokens, liger_chunk
from planner.models import find_model
from strategies import PLAIN, Loss, Precision

SEQUENCE = 512
CLUSTER = Cluster(load_catalog().get("A100-80GB-SXM"))
MODEL = MemoryModel(TracedModel(find_model("smollm2-135m").inventory, SEQUENCE), CLUSTER)


@pytest.mark.parametrize(
    ("tokens", "hidden_size", "vocab_size", "chunk"),
    [(16_384, 4096, 32_000, 2048), (8192, 576, 49_152, 128), (8257, 576, 49_152, 128), (100, 4096, 4096, 100)],
)
def test_liger_makes_as_many_logits_as_there_are_hidden_states(
    tokens: int, hidden_size: int, vocab_size: int, chunk: int
) -> None:
    assert liger_chunk(tokens, hidden_size, vocab_size) == chunk


def test_a_chunk_of_all_tokens_is_no_chunk() -> None:
    assert chunk_tokens(Loss.LIGER_FUSED_LINEAR, 100, 4096, 4096) is None
    assert chunk_tokens(Loss.CHUNKED, 4096, 4096, 32_000) is None
    assert chunk_tokens(Loss.CHUNKED, 4097, 4096, 32_000) == 4096
    assert chunk_tokens(Loss.FULL, 10**6, 4096, 32_000) is None


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("budget_mib", [1000, 1900, 7300, 7333, 20_000, 76_000])
def test_the_solved_micro_batch_is_the_last_that_fits_although_chunks_grow_by_steps(
    loss: Loss, budget_mib: int
) -> None:
    footprint = MODEL.footprint(PLAIN._replace(precision=Precision.BF16_TRUE, loss=loss), micro_batches=1)
    budget = budget_mib * 2**20
    size = footprint.largest_micro_batch(budget)
    assert size == 0 or footprint.process_bytes(size) <= budget
    assert footprint.process_bytes(size + 1) > budget


@pytest.mark.parametrize("loss", [loss for loss in Loss if loss is not Loss.FULL])
def test_a_loss_of_today_takes_less_than_the_full_one_and_one_of_earlier_releases_more(loss: Loss) -> None:
    mixed = PLAIN._replace(precision=Precision.BF16_MIXED)
    full, other = (
        MODEL.footprint(mixed._replace(loss=choice), micro_batches=1).allocated_bytes(16)
        for choice in (Loss.FULL, loss)
    )
    assert other > full if loss.is_earlier else other < full


def test_a_compiled_loss_saves_what_torchs_partitioner_saves() -> None:
    """Logits and their gradient in their own dtype, labels, and two numbers of each token."""

    def as_it_is(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        return make_boxed_func(graph.forward)

    backend = aot_autograd(
        fw_compiler=as_it_is,
        bw_compiler=as_it_is,
        partition_fn=min_cut_rematerialization_partition,
        decompositions=select_decomp_table(),
    )

    def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits.float().view(-1, 500), labels.view(-1))

    logits = torch.randn(2, 16, 500, dtype=torch.bfloat16, requires_grad=True)
    loss = torch.compile(loss_of, backend=backend)(logits, torch.zeros(2, 16, dtype=torch.int64))
    saved = [(tensor.numel(), tensor.itemsize) for tensor in loss.grad_fn.saved_tensors]
    assert sorted(saved) == [(1, 4), (32, 4), (32, 4), (32, 8), (16_000, 2)]
    (gradient,) = torch.autograd.grad(loss, [logits])
    assert gradient.dtype == torch.bfloat16
