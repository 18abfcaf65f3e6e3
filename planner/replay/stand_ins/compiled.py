"""Runs blocks as torch.compile does: the graphs of torch's own partitioner, with the buffers that inductor allocates.

Each block is compiled by itself, `block.compile()`, as torchtitan's `apply_compile` and accelerate's
`use_regional_compilation` do; Trainer's `torch_compile=True` compiles the whole model, which saves the same tensors
within the blocks. transformers checkpoints inside a block's forward (modeling_layers.py, `GradientCheckpointingLayer`),
so the graph contains the checkpoint; FSDP2's hooks stay outside.

The joint graph of forward and backward is traced once for every kind of block, decomposed as for inductor and divided
by `min_cut_rematerialization_partition` (torch/_functorch/partitioners.py), which decides exactly what forward saves.
Within a graph a buffer exists for each result of a matrix product, of attention and of a reduction, and for what these
and the graph's outputs read; everything else is fused into its readers. Nodes run in the graph's order, and a buffer is
freed after its last reader. Two differences to inductor are left out: it saves memory by `reorder_for_peak_memory` and
by reusing buffers in place, and it writes more buffers for long chains of operators (`realize_reads_threshold`,
`realize_opcount_threshold`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import getitem
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import CheckpointPolicy

from planner.replay.extension.blocks import signature
from planner.replay.structure.stacks import stacks
from strategies import Kernels

_EXTERN = (
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_backward",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_efficient_attention_backward",
)
"""Operators that inductor calls as kernels of their own: they read and write buffers."""
_REDUCTIONS = ("sum", "mean", "amax", "amin", "var_mean", "prod")
"""Operators whose results get buffers, because inductor does not fuse them into their readers."""
_VIEWS = (
    *("view", "permute", "alias", "unsqueeze", "squeeze", "expand", "slice", "select", "t", "transpose", "as_strided"),
    *("split", "split_with_sizes"),
)
"""Operators whose results share the storage of their first argument."""


def _named(node: torch.fx.Node, names: tuple[str, ...]) -> bool:
    """Returns whether a node calls an operator with one of these names."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._opname in names


def _views(node: torch.fx.Node) -> bool:
    """Returns whether a node is a view of its first argument."""
    return _named(node, _VIEWS) or (node.target is getitem and _named(node.all_input_nodes[0], _VIEWS))


def _root(node: torch.fx.Node) -> torch.fx.Node:
    """Returns the node that a chain of views starts from."""
    while _views(node):
        node = node.all_input_nodes[0]
    return node


class _Plan(NamedTuple):
    """The lifetimes of a graph's buffers."""

    buffers: frozenset[torch.fx.Node]
    """Nodes whose results are written to memory."""
    freed: dict[torch.fx.Node, list[torch.fx.Node]]
    """Buffers that each node is the last to read."""


def _plan(graph: torch.fx.Graph) -> _Plan:
    """Finds which nodes of a graph have buffers, and where each buffer is read for the last time.

    A fused node reads the buffers of its inputs when its own reader runs.
    """
    extern = [n for n in graph.nodes if _named(n, _EXTERN)]
    read = {_root(x) for n in (*extern, graph.output_node()) for x in n.all_input_nodes}
    made = {n for n in graph.nodes if n.op == "placeholder" or (n.target is getitem and not _views(n))}
    made |= {n for n in graph.nodes if _named(n, (*_EXTERN, *_REDUCTIONS))}
    buffers = frozenset(read | made)
    reads: dict[torch.fx.Node, set[torch.fx.Node]] = {}
    last: dict[torch.fx.Node, torch.fx.Node] = {}
    for node in graph.nodes:
        sources = set[torch.fx.Node]()
        for x in node.all_input_nodes:
            sources |= {x} if x in buffers else reads[x]
        reads[node] = sources
        if node in buffers or node.op == "output":
            last.update(dict.fromkeys({node, *sources}, node))
    freed: dict[torch.fx.Node, list[torch.fx.Node]] = {}
    for buffer, reader in last.items():
        freed.setdefault(reader, []).append(buffer)
    return _Plan(buffers, freed)


def _runs(gm: torch.fx.GraphModule, example_inputs: Any) -> Callable[[list[Any]], list[Any]]:
    """Returns a function that runs a graph on its buffers, and drops its arguments as inductor's code does."""
    from torch._inductor.fx_passes.post_grad import remove_noop_ops

    graph = gm.graph
    remove_noop_ops(graph)
    graph.eliminate_dead_code()
    plan = _plan(graph)
    placeholders = graph.find_nodes(op="placeholder")
    viewers: dict[torch.fx.Node, list[torch.fx.Node]] = {}
    for node in graph.nodes:
        if _views(node):
            viewers.setdefault(_root(node), []).append(node)

    def run(arguments: list[Any]) -> list[Any]:
        values: dict[torch.fx.Node, Any] = dict(zip(placeholders, arguments, strict=True))
        arguments.clear()
        for node in graph.nodes:
            if node.op == "output":
                return [values[x] if isinstance(x, torch.fx.Node) else x for x in node.args[0]]
            if node.target is getitem or _named(node, _EXTERN) or (_views(node) and _root(node) in plan.buffers):
                args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
                del args, kwargs
            elif node in plan.buffers and node.op == "call_function" and not _views(node):
                like = node.meta["val"]
                values[node] = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype)
            for buffer in plan.freed.get(node, ()):
                for name in (buffer, *viewers.get(buffer, ())):
                    values.pop(name, None)
        raise AssertionError("a graph has an output")

    run._boxed_call = True  # type: ignore[attr-defined]  # torch/_functorch: the arguments are a list to empty
    return run


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
        fw_compiler=_runs,
        bw_compiler=_runs,
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
