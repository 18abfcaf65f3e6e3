"""Adds the modules that have no parameters of their own: ZeRO-3 gathers ahead whenever any module is entered.

The model's own module is one of them, unless its forward reads a parameter of another: of the head, for a fused loss.
So is the body, all but the head, which may read the embedding's table. DeepSpeed gathers what a forward reads with its
module from the second step on (parameter_offload.py, `ZeROOrderedDict`). The body's input are ids, which have no
gradient, so that nothing tells when its backward is over (`PostBackwardFunction`): what it reads stays.

Only parameters' modules are marked in a traced part. The names of the others follow: a container is entered before the
first of its modules, and again when another was in between. Sources: transformers' modeling files; peft/tuners/lora/
layer.py, where an adapted layer is a module around the layer, the dropout and both matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from planner.memory.autograd.marks import BODY, MODEL, WITHOUT_PARAMETERS, Happened, Happening

DOWN = ".lora_A"
"""End of the name of an adapter's first matrix, before which its dropout runs, even if that does nothing."""

MODULE = f"{WITHOUT_PARAMETERS}module"
"""Name of a module of which nothing but its entering matters."""

ENTERED = Happening.ENTERS, Happening.ENTERS_BACKWARD


class Containers:
    """Adds what is entered around the marked modules of a model.

    Args:
        parts: What happens in the forward of each part.
        owners: Names of modules that have parameters.
    """

    def __init__(self, parts: Sequence[Sequence[Happened]], owners: Set[str]) -> None:
        self.last = len(parts) - 1
        names = {h.name for happened in parts for h in happened if h.kind is Happening.ENTERS}
        self._adapted = {name.removesuffix(DOWN) for name in names if name.endswith(DOWN)}
        self._own = owners - names
        """Containers with parameters of their own, such as the sinks of an attention."""
        self._wrappers = [MODULE, MODEL] if self._adapted else [MODEL]
        """The model's own module, or PEFT's two, the inner of which calls its `forward`; the body is one more."""
        read = [(i, h.name) for i, found in enumerate(parts) for h in found if h.kind is Happening.READS]
        self.reads = {BODY: [r for r in read if r[0] == 0], MODEL: [r for r in read if r[0] > 0]}
        """(part, name) of the parameters that the forward of the body, and of the model, reads."""

    def forward(self, part: int, happened: Sequence[Happened]) -> list[Happened]:
        """Returns what happens in a part's forward, with all modules."""
        found = self._within(happened, [*self._wrappers, BODY] if part == 0 else self._block(part))
        if part == 0 and found:
            return [*found, _entered(found[-1], Happening.ENTERS)]  # rotary embeddings
        if part == self.last and found:
            return [*found, Happened(Happening.LEAVES, MODEL, found[-1].at, ())]
        if part == self.last - 1 and self.reads[BODY]:
            return self._body(found, Happening.LEAVES, Happening.LEAVES)
        return found

    def backward(self, part: int, happened: Sequence[Happened]) -> list[Happened]:
        """Returns what happens in a part's backward, with all modules."""
        found = self._within(happened, self._wrappers if part == self.last else self._block(part))
        if part != self.last - 1:
            return found
        return self._body(found, Happening.LEAVES_BACKWARD, Happening.ENTERS_BACKWARD)

    def _body(self, found: list[Happened], ended: Happening, kind: Happening) -> list[Happened]:
        """Adds what happens to the body between the norm and the head, when the first of them has ended."""
        first = next((i for i, h in enumerate(found, 1) if h.kind is ended), None)
        if first is not None:
            found.insert(first, _entered(found[first - 1], kind, BODY))
        return found

    def _block(self, part: int) -> list[str]:
        return [MODULE] if 0 < part < self.last - 1 else []

    def _within(self, happened: Sequence[Happened], first: Sequence[str]) -> list[Happened]:
        """Adds the containers within a part, and the modules `first` before them."""
        found: list[Happened] = []
        inside: tuple[str, ...] = ()
        kind = Happening.ENTERS
        for h in happened:
            if h.kind in ENTERED and not h.name.startswith(WITHOUT_PARAMETERS):
                around = self._around(h.name)
                found += self._left(h, kind, [name for name in inside if name not in around])
                found += self._before(h, inside)
                inside, kind = around, h.kind
            found.append(h)
            if h.kind is Happening.BEGINS and not h.name and len(found) == 1:
                kind = Happening.ENTERS if any(x.kind is Happening.LEAVES for x in happened) else ENTERED[1]
                found = _with_entered(h, kind, first)
            if h.kind is Happening.LEAVES_BACKWARD and h.name.endswith(DOWN):
                found.append(_entered(h, Happening.ENTERS_BACKWARD))
        return [*found, *(self._left(found[-1], kind, inside) if found else ())]

    def _left(self, at: Happened, kind: Happening, containers: Sequence[str]) -> Iterator[Happened]:
        """Yields the containers with parameters that are left after they were entered by an entering of this kind."""
        leaves = Happening.LEAVES if kind is Happening.ENTERS else Happening.LEAVES_BACKWARD
        return (Happened(leaves, name, at.at, ()) for name in reversed(containers) if name in self._own)

    def _before(self, h: Happened, inside: tuple[str, ...]) -> Iterator[Happened]:
        """Yields the containers that are entered before a module is."""
        for container in self._around(h.name):
            if container not in inside:
                yield _entered(h, h.kind, container if container in self._own else MODULE)
        if h.kind is Happening.ENTERS and h.name.endswith(DOWN):
            yield _entered(h, h.kind)

    def _around(self, name: str) -> tuple[str, ...]:
        """Returns the containers of a module within its part."""
        layer = name.rpartition(".lora_")[0] or name
        parents = layer.split(".")[:-1]
        found = tuple(".".join(parents[: i + 1]) for i in range(len(parents)))
        return (*found, layer) if layer in self._adapted else found


def _entered(at: Happened, kind: Happening, name: str = MODULE) -> Happened:
    """Returns the entering of a module at an instant, by default of one without parameters."""
    return Happened(kind, name, at.at, ())


def _with_entered(begins: Happened, kind: Happening, names: Sequence[str]) -> list[Happened]:
    """Returns the beginning of a part and the modules entered then; the instants that follow come after the last."""
    if not names:
        return [begins]
    found = [begins._replace(after=()), *(_entered(begins, kind, name) for name in names)]
    return [*found[:-1], found[-1]._replace(after=begins.after)]
