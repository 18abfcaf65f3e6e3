"""Makes GPUs and machines from the data of a catalog file, and reports every problem with its line and column."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from hardware.errors import nearest_names, shown
from hardware.files.document import Document, Location
from hardware.gpu import GPU, Link, PeakFlops
from hardware.machine import Machine
from hardware.names.named import Named, claim_names, name_key

SCHEMA_VERSION: Final = 1
"""Version of the catalog format that this planner reads."""

_SECTIONS: Final = ("gpus", "machines")
_TOP_LEVEL_KEYS: Final = ("schema_version", *_SECTIONS)
_NESTED: Final[dict[Location, type[BaseModel]]] = {
    ("peak_flops",): PeakFlops,
    ("gpu_link",): Link,
    ("host_link",): Link,
    ("network_link",): Link,
}
_OWN: Final = ("name", "aliases")
"""Fields that an entry does not take from its base."""
_PRICE: Final = ("price_per_hour_usd", "price_date", "price_source")

E = TypeVar("E", GPU, Machine)


class Base(Protocol):
    """Describes where the entries that a file overrides are looked up; `Catalog` is one."""

    _gpus: Named[GPU]
    _machines: Named[Machine]


def derived(entry: Mapping[str, Any], based: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the fields of an entry with those that it takes from its base.

    A price, its date and its source come together: an entry that gives one of them takes none of the others.
    """
    kept = {name: value for name, value in (based or {}).items() if name not in _OWN}
    if any(name in entry for name in _PRICE):
        kept = {name: value for name, value in kept.items() if name not in _PRICE}
    return {**kept, **{name: value for name, value in entry.items() if name != "base"}}


def validated(document: Document, base: Base) -> tuple[tuple[GPU, ...], tuple[Machine, ...]]:
    """Returns the complete GPUs and machines of a file.

    Args:
        document: The parsed file, whose `error` is raised.
        base: Catalog from which an entry takes the fields that it leaves out, if it has one with that name or alias.

    Raises:
        CatalogError: The file has problems; all of them are listed.
    """
    given = _sections(document)
    gpus = _Section(document, "gpus", GPU, base._gpus, given.get("gpus", {})).validated()
    machines = _Section(document, "machines", Machine, base._machines, given.get("machines", {})).validated()
    _report_clashes(document, "gpus", gpus, base._gpus.without(gpus).owners)
    owners = base._gpus.without(gpus).owners
    owners |= {name_key(name): gpu.name for gpu in gpus.values() for name in (gpu.name, *gpu.aliases)}
    taken = {key: f"{owner}, a GPU" for key, owner in owners.items()}
    _report_clashes(document, "machines", machines, base._machines.without(machines).owners | taken)
    for machine in machines.values():
        if name_key(machine.gpu) not in owners:
            known = (*base._gpus.names(), *gpus)
            message = f"no GPU is called {shown(machine.gpu)}{_did_you_mean(machine.gpu, known)}"
            document.add_problem(("machines", machine.name, "gpu"), message)
    document.raise_problems()
    return tuple(gpus.values()), tuple(machines.values())


def _sections(document: Document) -> dict[str, dict[str, Any]]:
    """Returns the mappings under `gpus` and `machines`; problems of the top level are added to the document."""
    data = document.data
    if not isinstance(data, Mapping):
        found = "the file is empty" if data is None else f"not {shown(data)}"
        document.add_problem((), f"must be a mapping with the key gpus or machines; {found}")
        return {}
    for key in data:
        if key not in _TOP_LEVEL_KEYS:
            document.add_problem((key,), f"unknown key{_did_you_mean(key, _TOP_LEVEL_KEYS)}")
    version = data.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION or isinstance(version, bool):
        document.add_problem(("schema_version",), f"must be {SCHEMA_VERSION}, not {shown(version)}")
    asked = [name for name in _SECTIONS if name in data] or ["gpus"]
    for name in asked:
        if not isinstance(data.get(name), dict):
            kind = "GPU" if name == "gpus" else "machine"
            document.add_problem((name,), f"must be a mapping of {kind} names, not {shown(data.get(name))}")
    return {name: data[name] for name in asked if isinstance(data.get(name), dict)}


@dataclass
class _Section(Generic[E]):
    """Reads the entries of one kind."""

    document: Document
    section: str
    kind: type[E]
    base: Named[E]
    entries: Mapping[str, Any]

    def validated(self) -> dict[str, E]:
        """Returns the valid entries by canonical name, and adds the problems of the others to the document."""
        found: dict[str, E] = {}
        seen: set[str] = set()
        for key, entry in self.entries.items():
            known = self.base.find(key)
            name = known.name if known else key
            if name in seen:
                self.document.add_problem((self.section, key), f"duplicate: {name} is already given above")
            elif made := self._validated(key, name, entry):
                found[name] = made
            seen.add(name)
        return found

    def _validated(self, key: str, name: str, entry: Any) -> E | None:
        if not isinstance(entry, dict):
            self.document.add_problem((self.section, key), f"must be a mapping of fields, not {shown(entry)}")
            return None
        if "name" in entry:
            self.document.add_problem((self.section, key, "name"), "unknown field: the key above is the name")
        fields = self._fields(key, entry, ())
        if fields is None:
            return None
        try:
            return self.kind.model_validate({**fields, "name": name})
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                if problem["type"] == "default_factory_not_called":  # it only says that there are other problems
                    continue
                location: Location = () if problem["loc"] == ("name",) else problem["loc"]
                self.document.add_problem((self.section, key, *location), _message(problem, self.kind))
        return None

    def _fields(self, key: str, entry: Mapping[str, Any], above: tuple[str, ...]) -> dict[str, Any] | None:
        """Returns an entry's fields with those of its base, or else of the entry that it overrides; None if broken."""
        wanted = entry.get("base")
        if wanted is None:
            return {**_given(self.base.find(key)), **derived(entry, None)}
        near = next(
            (other for other in self.entries if name_key(other) == name_key(str(wanted)) and other != key), None
        )
        if near in above or not isinstance(wanted, str):
            reason = f"{shown(wanted)} is derived from this entry" if near in above else "must be the name of an entry"
            self.document.add_problem((self.section, key, "base"), reason)
            return None
        if near is not None and isinstance(self.entries[near], dict):
            based = self._fields(near, self.entries[near], (*above, key))
            return None if based is None else derived(entry, based)
        known = self.base.find(wanted)
        if known is None:
            names = (*self.base.names(), *self.entries)
            self.document.add_problem((self.section, key, "base"), f"no such entry{_did_you_mean(wanted, names)}")
            return None
        return derived(entry, _given(known))


def _given(known: GPU | Machine | None) -> dict[str, Any]:
    """Returns the fields that an entry says itself."""
    return known.model_dump(exclude_unset=True) if known else {}


def _message(problem: Any, kind: type[BaseModel]) -> str:
    """Returns the text for an error of pydantic."""
    location = problem["loc"]
    if problem["type"] == "missing":
        return "this field is required"
    if problem["type"] == "extra_forbidden":
        model = _NESTED.get(location[:-1], kind)
        return f"unknown field{_did_you_mean(str(location[-1]), tuple(model.model_fields))}"
    if problem["type"] == "string_type" and isinstance(problem["input"], int | float):
        return f"must be text: put {shown(problem['input'])} in quotes"
    message = str(problem["msg"]).removeprefix("Input should be ").removeprefix("Value should be ")
    if message == problem["msg"]:
        text = message[:1].lower() + message[1:]
        return text if not location or isinstance(problem["input"], dict) else f"{text}, not {shown(problem['input'])}"
    return f"must be {message}, not {shown(problem['input'])}"


def _did_you_mean(name: str, known: tuple[str, ...]) -> str:
    nearest = nearest_names(name, known)
    return f", did you mean {nearest[0]}?" if nearest else f"; known: {', '.join(known)}"


def _report_clashes(document: Document, section: str, found: Mapping[str, E], taken: Mapping[str, str]) -> None:
    """Adds a problem for each name or alias that another entry has, in the file or in `taken`."""
    owners = dict(taken)
    for entry in found.values():
        for index, owner in claim_names(owners, entry.name, entry.aliases):
            location: Location = (section, entry.name) if index is None else (section, entry.name, "aliases", index)
            name = entry.name if index is None else entry.aliases[index]
            document.add_problem(location, f"the name {shown(name)} already belongs to {owner}")
