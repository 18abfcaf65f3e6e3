"""Runs a graph on the buffers that inductor allocates for it.

A buffer exists for each result of a matrix product, of attention and of a reduction, and for what these and the graph's
outputs read; everything else is fused into its readers. Nodes run in the graph's order, and a buffer is freed after its
last reader. Two differences to inductor are left out: it saves memory by `reorder_for_peak_memory` and by reusing
buffers in place, and it writes more buffers for long chains of operators (`realize_reads_threshold`,
`realize_opcount_threshold`).
"""

from __future__ import annotations

from collections.abc import Callable
from operator import getitem
from typing import Any, NamedTuple

import torch

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


def runner_of(gm: torch.fx.GraphModule, example_inputs: Any) -> Callable[[list[Any]], list[Any]]:
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
