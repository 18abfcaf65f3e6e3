"""Runs blocks as torch.compile does: the graphs of torch's own partitioner, with the buffers that inductor allocates.

Each block is compiled by itself, `block.compile()`, as torchtitan's `apply_compile` and accelerate's
`use_regional_compilation` do; Trainer's `torch_compile=True` compiles the whole model, which saves the same tensors
within the blocks. transformers checkpoints inside a block's forward (modeling_layers.py, `GradientCheckpointingLayer`),
so the graph contains the checkpoint; FSDP2's hooks stay outside.

The joint graph of forward and backward is traced once for every kind of block, decomposed as for inductor and divided
by `min_cut_rematerialization_partition` (torch/_functorch/partitioners.py), which decides exactly what forward saves.
"""

from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import CheckpointPolicy

from planner.replay.extension.blocks import signature
from planner.replay.stand_ins.inductor import runner_of
from planner.replay.structure.stacks import stacks
from strategies import Kernels


def _divide(parameters: int, checkpointed: bool, module: Any, inputs: Any, **options: Any) -> Any:
    """Divides a joint graph into forward and backward as inductor does.

    The first `parameters` inputs are parameters, which are alive anyway and cost nothing to save (partitioners.py,
    `treat_parameters_as_free_to_save`).
    """
    from torch._functorch import partitioners
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes

    joint_graph_passes(module)
    if checkpointed:
        _tag(module.graph)
    options["static_lifetime_input_indices"] = list(range(parameters))
    # Attention without dropout draws no random numbers, so there is no generator state to save.
    with mock.patch.object(partitioners, "has_recomputable_rng_ops", return_value=False):
        return partitioners.min_cut_rematerialization_partition(module, inputs, compiler="inductor", **options)


def _tag(graph: torch.fx.Graph) -> None:
    """Marks the nodes of forward to be recomputed in backward.

    Dynamo does the same to the nodes inside a checkpoint (torch/_higher_order_ops/wrap.py, `TagActivationCheckpoint`).
    """
    backward = {node for node in graph.nodes if node.op == "placeholder" and "tangents" in str(node.target)}
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        if any(x in backward for x in node.all_input_nodes):
            backward.add(node)
        else:
            node.meta["recompute"] = CheckpointPolicy.MUST_RECOMPUTE


def _compile(block: Any, run: Any, names: list[str], spec: Any, constants: list[Any], examples: list[Any]) -> Any:
    """Compiles a block to a function of its parameters and of the tensors among its arguments.

    Args:
        block: The module.
        run: Its forward.
        names: Names of its parameters, whose values are the first arguments of the compiled function.
        spec: Structure of the forward's arguments, as `tree_flatten` returns it.
        constants: Leaves of that structure, with `_TENSOR` in place of each tensor.
        examples: Fake parameters and tensors, with which the function is traced.
    """
    from torch._functorch.aot_autograd import aot_function
    from torch._inductor.decomposition import select_decomp_table

    def forward(*tensors: torch.Tensor) -> Any:
        rest = iter(tensors[len(names) :])
        args, kwargs = tree_unflatten([next(rest) if c is _TENSOR else c for c in constants], spec)
        state = dict(zip(names, tensors, strict=False))
        with _reparametrize_module(block, state):
            return run(*args, **kwargs)

    compiled = aot_function(
        forward,
        fw_compiler=runner_of,
        bw_compiler=runner_of,
        partition_fn=partial(_divide, len(names), bool(block.gradient_checkpointing)),
        decompositions=select_decomp_table(),
    )
    compiled(*examples)
    return compiled


_TENSOR = object()
"""Mark that stands for a tensor among the leaves of a block's arguments."""


class _Compiler:
    """Compiles each block at its first call; equal blocks with equal arguments share the compiled function."""

    def __init__(self) -> None:
        self.compiled: dict[Hashable, Any] = {}

    def call(self, block: torch.nn.Module, forward: Any, kind: Hashable, *args: Any, **kwargs: Any) -> Any:
        """Runs a block compiled; `forward` is its original forward, and blocks of equal `kind` are interchangeable."""
        names, parameters = zip(*block.named_parameters(), strict=True)
        leaves, spec = tree_flatten((args, kwargs))
        constants = [_TENSOR if isinstance(x, torch.Tensor) else x for x in leaves]
        tensors = [*parameters, *(x for x in leaves if isinstance(x, torch.Tensor))]
        likes = [(tuple(t.shape), t.stride(), t.dtype, t.requires_grad) for t in tensors]
        autocast = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        key = kind, tuple(likes), autocast
        if key not in self.compiled:
            # A thread of its own has none of the dispatch modes, hooks and recorders of the step.
            with ThreadPoolExecutor(1) as thread:
                job = thread.submit(self._trace, block, forward, list(names), spec, constants, likes, autocast)
                self.compiled[key] = job.result()
        return self.compiled[key](*tensors)

    @staticmethod
    def _trace(
        block: Any, forward: Any, names: list[str], spec: Any, constants: list[Any], likes: list[Any], autocast: Any
    ) -> Any:
        """Compiles a block on fake tensors like its parameters and arguments, under the step's autocast."""
        from torch._subclasses.fake_tensor import FakeTensorMode

        def plain(*args: Any, **kwargs: Any) -> Any:
            with mock.patch.object(block, "gradient_checkpointing", False):
                return forward(*args, **kwargs)

        with FakeTensorMode(allow_non_fake_inputs=True):
            examples = [
                torch.empty_strided(shape, stride, dtype=dtype, requires_grad=grad)
                for shape, stride, dtype, grad in likes
            ]
            with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
                return _compile(block, plain, names, spec, constants, examples)


def compile_blocks(model: Any, kernels: Kernels) -> None:
    """Makes every block in the model's lists of blocks run compiled, if the kernels are torch.compile's."""
    if kernels is not Kernels.COMPILE:
        return
    compiler = _Compiler()
    for _, blocks in stacks(model):
        for block in blocks:
            block.forward = partial(compiler.call, block, block.forward, signature(block))
