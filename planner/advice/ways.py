"""Collects the ways out of a request that nothing fits, by what they cost the user."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from planner.advice.changes import Change, cost_of, items_of, options_of, told_cost
from planner.advice.fitting_machines import machines_that_fit
from planner.advice.machines import cost_key
from planner.advice.minimal import Found, Minimal
from planner.advice.spelled import spelled_way
from planner.advice.techniques import changes_from, is_slow_to_try, unusual, values_of
from planner.advice.trials import HOST, Trial, best, best_near, tried
from planner.advice.variants import Variants
from planner.advice.workloads import host_memory, of_length, shorter, workload_changes
from planner.records.advice import Cost, Way
from strategies import Finetuning, Strategy

MOST_WAYS = 8
MOST_OF_A_COST = 3
"""Most ways of one cost that are told."""
MOST_METHODS = 2
"""The same for other fine-tuning methods: users who ask for one method mostly mean it."""
STEPS_OF_A_LENGTH = 8
"""Parts of the length asked for between which the longest sequence that fits is looked for."""
LESSER_METHODS = {
    Finetuning.FULL: (Finetuning.LORA, Finetuning.QLORA, Finetuning.FREEZE),
    Finetuning.FREEZE: (Finetuning.LORA, Finetuning.QLORA),
    Finetuning.BITFIT: (Finetuning.LORA, Finetuning.QLORA),
    Finetuning.LORA: (Finetuning.QLORA,),
}
"""Methods that are advised to those who ask for one."""


def ways_out(
    variants: Variants, strategies: Sequence[Strategy], verb: str, held: frozenset[str] = frozenset()
) -> list[Way]:
    """Returns the smallest sets of changes after which something fits, by what they cost.

    Args:
        variants: The request, of which nothing fits.
        strategies: All strategies that can run, or some of a space that is too large.
        verb: The command whose request this is.
        held: Options that have to keep their values.
    """
    plain = variants.changed({})
    trials = [trial for strategy in strategies if (trial := tried(plain, strategy)) is not None]
    least = best(trials)
    if least is None:
        return []
    found = of_techniques(variants, trials, least, held)
    if variants.problem.memory.is_cheap:
        enough = [items_of(one.changes) for one in found]
        known = [change for change in _of_run(trials, held) if not any(some <= items_of((change,)) for some in enough)]
        found += machines_that_fit(variants, least, known)
    told = (spelled_way(variants, _longest(variants, one), least, verb) for one in _ranked(found, least))
    return [way for way in told if way is not None]


def of_techniques(
    variants: Variants, trials: Sequence[Trial], least: Trial, held: frozenset[str] = frozenset()
) -> list[Found]:
    """Returns the smallest sets of changes of the run itself."""
    minimal = Minimal(variants)
    is_cheap = variants.problem.memory.is_cheap
    changes = _of_run(trials, held) if is_cheap else []  # each would be replayed, which takes minutes
    methods = [*_lesser_methods(changes, trials)]
    others = [change for change in changes if "finetuning" not in change.options and not is_slow_to_try(change)]
    workload = [*workload_changes(variants), *_room_on_host(least), *shorter(variants)]
    others += [change for change in workload if is_cheap or "micro_batch_size" in change.options]
    inapplicable: list[tuple[Finetuning, Trial, list[Change]]] = []
    for base in _bases(trials):
        method = base.strategy.finetuning.method
        beaten = (left for of, under, left in inapplicable if of is method and under.is_under(base))
        left = next(beaten, others)
        inapplicable.append((method, base, minimal.search(base, (), left)))
    near = {change for _, _, left in inapplicable for change in others if change not in left}
    _try_on_host(variants, minimal, least, [change for change in others if "offload" in change.options], near)
    if not any(_is_plain(one) for one in minimal.found()):
        _try_slow(variants, minimal, least, [change for change in changes if is_slow_to_try(change)])
    for change in methods:
        trial = best_near(variants.changed(change.options), None)
        if trial is not None and trial.fits:
            minimal.add((change,), trial)
        elif trial is not None:
            minimal.search(trial, (change,), others)
    return minimal.found()


def _is_plain(found: Found) -> bool:
    """Returns whether flags and packages alone do, by which nothing is lost."""
    return cost_of(found.changes).place <= Cost.PACKAGE.place and not any(change.but for change in found.changes)


def _of_run(trials: Sequence[Trial], held: frozenset[str]) -> list[Change]:
    """Returns the changes of techniques that lead out of what was tried, without those of options that are held."""
    known = changes_from(values_of(trial.strategy for trial in trials))
    return [change for change in known if not change.options.keys() & held]


def _lesser_methods(changes: Iterable[Change], trials: Iterable[Trial]) -> Iterator[Change]:
    """Yields the methods that take less than all that are searched."""
    asked = {trial.strategy.finetuning.method for trial in trials}
    for change in changes:
        method = change.options.get("finetuning")
        if method is not None and all(method in LESSER_METHODS.get(one, ()) for one in asked):
            yield change


def _try_on_host(
    variants: Variants, minimal: Minimal, least: Trial, changes: Iterable[Change], near: Container[Change]
) -> None:
    """Tries what moves to the host as strategies that take more on the GPU can do it, or a node with more memory.

    Args:
        variants: The request.
        minimal: Collects what fits.
        least: The strategy that takes the least.
        changes: The changes.
        near: Those that apply to the smallest strategies, which have been tried on them.
    """
    for change in changes:
        trial = best_near(variants.changed(change.options), least.strategy if change in near else None)
        if trial is None:
            continue
        if trial.fits:
            minimal.add((change,), trial)
        elif all(over <= 0 for moment, over in trial.over.items() if moment != HOST):
            made = change, *_room_on_host(trial)
            larger = best_near(variants.changed(options_of(made)), trial.strategy)
            if larger is not None and larger.fits:
                minimal.add(made, larger)


def _try_slow(variants: Variants, minimal: Minimal, least: Trial, changes: Iterable[Change]) -> None:
    """Tries changes that take long to try, that which saves the most first; where it does not fit, none does."""
    for change in reversed([*changes]):
        if least.solver.cluster.world_size == 1 and "offload" not in change.options:
            continue  # one GPU shards nothing
        variant = variants.changed(change.options)
        trial = best_near(variant, least.strategy) or best_near(variant, None)  # whatever optimizer steps on the host
        if trial is None:
            continue
        if not trial.fits:
            return
        minimal.add((change,), trial)


def _bases(trials: Iterable[Trial]) -> list[Trial]:
    """Returns, for each method and sharding, the strategies that no other one undercuts at all moments, smallest first.

    What the others have instead are options that changes can reach, and they take more.
    """
    found: dict[object, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.size):
        key = trial.strategy.finetuning.method, trial.strategy.sharding.choice, trial.strategy.sharding.backend
        if not any(smaller.is_under(trial) for smaller in found.setdefault(key, [])):
            found[key].append(trial)
    return sorted((trial for alike in found.values() for trial in alike), key=lambda trial: trial.size)


def _longest(variants: Variants, found: Found) -> Found:
    """Returns changes with the longest sequences that fit, in parts of the length asked for."""
    if len(found.changes) > 1 or "sequence_length" not in found.changes[0].options:
        return found
    asked, fits = variants.problem.request.sequence_length, found.changes[0].options["sequence_length"]
    part = max(1, asked // STEPS_OF_A_LENGTH)
    lengths = range(-(-fits // part) * part + part, min(2 * fits, asked), part)
    low, best_found = -1, found
    high = len(lengths)
    while high - low > 1:
        middle = (low + high) // 2
        change = of_length(lengths[middle], asked)
        trial = best_near(variants.changed(change.options), found.trial.strategy)
        if trial is not None and trial.fits:
            low, best_found = middle, Found((change,), trial)
        else:
            high = middle
    return best_found


def _room_on_host(least: Trial) -> Iterator[Change]:
    """Yields nodes with enough host memory, where that is what is missing."""
    if least.over.get(HOST, 0) > 0:
        footprint = least.solver.footprint(least.strategy, least.batch[1])
        yield host_memory(footprint.host.node_bytes(least.batch[0]))


def _ranked(found: Iterable[Found], least: Trial) -> list[Found]:
    """Returns what is told, the cheapest first: a few of each cost, and one of those that change the same options."""
    usual = least.seconds_per_token()
    keyed = []
    for one in found:
        relative = one.trial.seconds_per_token() / usual
        cost = told_cost(one.changes, relative)
        each = sorted((change.cost.place for change in one.changes), reverse=True)
        shorter_by = -options_of(one.changes).get("sequence_length", 0)
        cluster = one.trial.solver.cluster
        machine = cost_key(cluster)
        key = each[1:], len(options_of(one.changes)), unusual(one.changes), shorter_by, machine, relative
        keyed.append(((cost.place, *key), cost, one))
    kept: list[Found] = []
    number: dict[Cost, int] = {}
    seen: set[object] = set()
    for _, cost, one in sorted(keyed, key=lambda item: item[0]):
        alike = cost, frozenset(options_of(one.changes)), frozenset(change.needs for change in one.changes)
        most = MOST_METHODS if cost is Cost.METHOD else MOST_OF_A_COST
        if alike in seen or number.get(cost, 0) == most:
            continue
        seen.add(alike)
        number[cost] = number.get(cost, 0) + 1
        kept.append(one)
    return kept[:MOST_WAYS]
