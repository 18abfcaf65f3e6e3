"""Says which parameters of each part of a model train under a fine-tuning method."""

from typing import NamedTuple

from strategies import BitFit, Freeze, Full, Lora, Method, Task, TrainedModules


class Trainable(NamedTuple):
    """Says which of a part's own parameters train; adapters always train and are not named here."""

    weights: bool = False
    """Whether all of them train."""
    biases: bool = False
    """Whether all biases train."""
    embedding: bool = False
    """Whether the table of input embeddings trains; under LoRA it is a copy that trains."""
    head: bool = False
    """Whether the head, of a language model or of a classifier, trains; under LoRA it is a copy that trains."""


def trained_at_ends(method: Method, *, tied: bool, task: Task = Task.CAUSAL_LM) -> Trainable:
    """Returns what trains in stem and head; tied weights train together, except that PEFT trains a copy of each."""
    if isinstance(method, Full):
        return Trainable(weights=True, embedding=True, head=True)
    modules = getattr(method, "trained_modules", TrainedModules.NONE)
    embedding, head = modules.embeddings, modules.head or trains_classifier(method, task)
    if tied and not isinstance(method, Lora):
        embedding = head = embedding or head
    return Trainable(biases=isinstance(method, BitFit), embedding=embedding, head=head)


def trained_in_blocks(method: Method, num_blocks: int) -> tuple[Trainable, ...]:
    """Returns what trains in each block, in order; Freeze trains the last `method.trained_blocks` blocks only."""
    first = num_blocks - method.trained_blocks if isinstance(method, Freeze) else 0
    own = Trainable(weights=isinstance(method, Full | Freeze), biases=isinstance(method, BitFit))
    return tuple(own if i >= first else Trainable() for i in range(num_blocks))


def trains_classifier(method: Method, task: Task) -> bool:
    """Returns whether PEFT trains a copy of the head beside adapters without being asked, as it does of classifiers.

    Source: peft/peft_model.py, `PeftModelForSequenceClassification` and `PeftModelForTokenClassification`.
    """
    return isinstance(method, Lora) and task.facts.peft is not None


def copies_modules(method: Method, task: Task = Task.CAUSAL_LM) -> bool:
    """Returns whether PEFT trains copies of the embedding or the head; such copies are tied to nothing."""
    asked = isinstance(method, Lora) and method.trained_modules is not TrainedModules.NONE
    return asked or trains_classifier(method, task)
