"""The equivalence classes that policies can tell apart, as axes for a search. Pure.

Two requests are of one class if every expression that is asked about has the same value for both. What makes them so:

1. *One of a few* (class, organisation, the deployment's words and grades): an option for each value that matters, and
   one for all others together, where an expression can only ask for equality with a constant.
2. *Sets* (labels, residency, roles, facts): all that an expression can do with a set is to compare it with constants
   and other sets, or to ask for one named element. So elements that are in the same constants are interchangeable. A
   *cell* of them is in the set not at all, in part, or whole, and nothing else about it can be told.
   Where several sets that vary are compared with each other (a residency with facts that are not known), each
   comparison that fails needs one element to show it; so of each cell as many elements stand for themselves as there
   are comparisons, and the rest are as the last of these, in every set.
3. *Ages* (staleness in days): comparisons with constants only; an option for each span between them.

Where an expression does anything else with what it reads, it can't be enumerated, and `NotExpressible` says so.
"""

import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sekisho.catalog.deployment_types import GLOBAL_TYPES, REGIONAL_TYPES, REGIONS, ZONE_TYPES, ZONES
from sekisho.catalog.interfaces import ANYWHERE, UNKNOWN, Grade
from sekisho.kernel.canonical import INTEGER_MAX
from sekisho.policy.compiled import attribute_values, deployment_values
from sekisho.policy.expressions import (
    CLASS,
    CLASS_RANK,
    LABEL,
    LABELS,
    LONG,
    ORGANISATION,
    PRINCIPAL,
    PRINCIPAL_IN,
    PROTECTED,
    READS,
    RESIDENCY,
    RESOURCE,
    RESOURCE_IN,
    SETS,
    STALENESS,
    STRING,
    Const,
    Expression,
    NotExpressible,
    Op,
    Read,
    negation,
    nodes,
    reads,
)
from sekisho.policy.interfaces import RELAY_RAW, RESTORE, SEND_REDACTED
from sekisho.policy.schema import STANDING_LABELS, enumerations
from sekisho.policy.search import Axis

OTHER: Final = "\N{HORIZONTAL ELLIPSIS}"  # the name that stands for all that no expression names; longer if it is one
_TYPE: Final = f"{RESOURCE}.deployment_type"
_PROCESSING: Final = f"{RESOURCE}.processing"
# What a deployment names that can be declared later too, under any name, by the attribute that names it.
_NAMED_FREELY: Final = {
    "Model": f"{RESOURCE}.model",
    "Provider": f"{RESOURCE}.provider",
    "Site": f"{RESOURCE}.site",
    "Deployment": RESOURCE,
}
_COMPARISONS: Final = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
_SET_COMPARISONS: Final = frozenset({"eq", "ne", "is_empty", "contains_all", "contains_any"})
_GRADE_MAX: Final = Grade.OBSERVED  # `attested` can't be declared


class World(NamedTuple):
    """What a snapshot's parts say of the requests and deployments that there can be."""

    classes: tuple[str, ...]
    protected_from: int
    home: frozenset[str]
    names: Mapping[str, frozenset[str]]  # the schema's closed sets, by type
    models: dict[str, Any]
    lapses: list[dict[str, Any]]

    def spans(self, now_us: int) -> Iterator[tuple[str, int | None, dict[str, Any]]]:
        """Each deployment's name with what can be read of it now (None), then from each later end of a fact on (µs)."""
        current = {
            entity["uid"]["id"]: deployment_values(entity) for entities in self.models.values() for entity in entities
        }
        last: dict[tuple[str, str], int] = {}  # (deployment, read) → number of the lapse that says what it is

        def take(number: int) -> None:
            """Of two lapses that are due the later in their order counts, which is not that of time (`entities`)."""
            name, said = self.lapses[number]["deployment"], attribute_values(self.lapses[number]["attributes"])
            said = {read: value for read, value in said.items() if last.get((name, read), -1) < number}
            last.update(((name, read), number) for read in said)
            current[name] = current[name] | said

        due = [(lapse["at"], lapse["deployment"], number) for number, lapse in enumerate(self.lapses)]
        for at_us, _, number in due:
            if at_us <= now_us:
                take(number)
        for name, values in current.items():
            yield name, None, values
        coming = sorted(one for one in due if one[0] > now_us)
        for (instant, name), numbers in itertools.groupby(coming, operator.itemgetter(0, 1)):
            for _, _, number in numbers:
                take(number)
            yield name, instant, current[name]


def world_of(entities: Mapping[str, Any], schema: str) -> World:
    """From the decoded part and the schema's text. Raises KeyError for parts that are not as they should be."""
    return World(
        tuple(entities["classes"]),
        entities["protected_from"],
        frozenset(f"Jurisdiction::{code}" for code in entities["home"]),
        enumerations(schema),
        entities["models"],
        entities["lapses"],
    )


class Asking(NamedTuple):
    """Which requests are meant: those of these organisations (names), from a class's rank up, whose residency is any
    set of `places` (jurisdictions as entities)."""

    organisations: tuple[str, ...]
    rank_min: int
    places: frozenset[str]


def request_axes(
    world: World, asking: Asking, action: str, expressions: Sequence[Expression], *, residency: bool = True
) -> list[Axis]:
    """The axes of requests as far as `expressions` read them (their residency's only if that is said).

    Raises NotExpressible.
    """
    read = frozenset().union(*(reads(one) for one in expressions))
    if LABEL in read and action not in (RELAY_RAW, RESTORE):
        raise NotExpressible("the label of a value in an answer where there is none")
    axes = [
        *_class_axis(world, asking, read),
        *_principal_axes(asking, read, expressions),
        *_age_axes(read, expressions),
    ]
    if LABELS in read:
        # What holds one of the standing labels can't be redacted: inspection decides so.
        missing = STANDING_LABELS if action == SEND_REDACTED else ()
        axes += set_axes(LABELS, _entities("Label", world.names["Label"].difference(missing)), expressions)
    if RESIDENCY in read and residency:
        axes += set_axes(RESIDENCY, asking.places, expressions)
    return axes


def set_axes(name: str, universe: frozenset[str], expressions: Sequence[Expression]) -> list[Axis]:
    """Axes for a set that is compared with constants only: a cell each."""
    axes = []
    inside, outside = _cells(universe, constants(READS[name], expressions))
    none: frozenset[str] = frozenset()
    options: tuple[frozenset[str], ...]
    for number, cell in enumerate(inside):
        options = (none, frozenset(cell))
        if len(cell) > 1:
            options = (none, frozenset(cell[:1]), frozenset(cell))
        axes.append(Axis(f"{name}[{number}]", len(options), parts={name: options}))
    if outside and _asks_for_the_rest(name, expressions):
        # No constant holds any of them, so that one of them says as much as all.
        axes.append(Axis(f"{name}[]", 2, parts={name: (none, frozenset(outside[:1]))}))
    return axes or [Axis(f"{name}[]", 1, parts={name: (none,)})]


def deployment_axes(
    world: World, places: frozenset[str], expressions: Sequence[Expression]
) -> tuple[list[Axis], list[Expression]]:
    """The axes of every deployment that could be declared, and what holds of each, and of a residency within `places`,
    which is beside the facts: its axes are among these (`request_axes` is to be told so).
    """
    read = frozenset().union(*(reads(one) for one in expressions))
    axes: list[Axis] = []
    rules: list[Expression] = []
    facts = sorted(name for name in read if name.startswith(f"{RESOURCE}.") and READS[name].startswith(SETS))
    where = [name for name in facts if READS[name] == SETS + "Jurisdiction"]
    texts = [name for name in facts if READS[name] == SETS + STRING]
    for name in {*(one.removesuffix("_grade") for one in read if one.endswith("_grade"))} | {*where, *texts}:
        rules += _fact_rules(name, world, read)
    if RESIDENCY in read:
        within = Const(places, SETS + "Jurisdiction")
        rules.append(Op("contains_all", (within, Read(RESIDENCY))))
    if {_TYPE, _PROCESSING} <= read:
        rules += _type_rules(world)
    together = [*expressions, *rules]
    varying = [*where, *((RESIDENCY,) if RESIDENCY in read else ())]
    axes += _joint_axes(varying, _entities("Jurisdiction", world.names["Jurisdiction"]), together)
    axes += _joint_axes(texts, _texts(texts, together), together)
    axes += _word_axes(world, read, together)
    return axes, rules


def constants(kind: str, expressions: Iterable[Expression]) -> list[frozenset[str]]:
    """The sets that expressions name of the elements of `kind` (a set's); a single element is a set of its own."""
    element = kind.removeprefix(SETS)
    found = {
        one.value if isinstance(one.value, frozenset) else frozenset((one.value,))
        for expression in expressions
        for one in nodes(expression)
        if isinstance(one, Const) and one.kind in (kind, element)
    }
    return sorted(found, key=sorted)


def _texts(names: Sequence[str], expressions: Iterable[Expression]) -> frozenset[str]:
    """The texts that expressions name, and as many others as could be told apart: those in some of the sets `names`."""
    known = frozenset((UNKNOWN,)).union(*constants(SETS + STRING, expressions))
    others = (OTHER * length for length in itertools.count(1))
    return known.union(itertools.islice((one for one in others if one not in known), 2 ** len(names)))


def named(kind: str, expressions: Iterable[Expression]) -> list[str]:
    """The entities of a type that expressions name, sorted."""
    prefix = f"{kind}::"
    found: set[str] = set()
    for expression in expressions:
        for one in nodes(expression):
            if isinstance(one, Const):
                values = one.value if isinstance(one.value, frozenset) else (one.value,)
                found |= {value for value in values if isinstance(value, str) and value.startswith(prefix)}
    return sorted(found)


def _named_and_other(kind: str, expressions: Iterable[Expression]) -> tuple[str, ...]:
    known = named(kind, expressions)
    other = f"{kind}::{OTHER}"
    while other in known:
        other += OTHER
    return (other, *known)


def _entities(kind: str, names: Iterable[str]) -> frozenset[str]:
    return frozenset(f"{kind}::{name}" for name in names)


def _cells(universe: frozenset[str], sets: Sequence[frozenset[str]]) -> tuple[list[list[str]], list[str]]:
    """Elements by the constants that hold them: the cells, sorted, and those that no constant holds."""
    cells: dict[tuple[bool, ...], list[str]] = {}
    for element in sorted(universe):
        cells.setdefault(tuple(element in one for one in sets), []).append(element)
    outside = cells.pop((False,) * len(sets), [])
    return list(cells.values()), outside


def _asks_for_the_rest(name: str, expressions: Sequence[Expression]) -> bool:
    """Whether anything depends on elements that no constant holds."""
    read = Read(name)
    for expression in expressions:
        for one in nodes(expression):
            if isinstance(one, Op) and read in one.args:
                for position, argument in enumerate(one.args):
                    within = one.op in ("contains", "contains_all") and position == 0
                    if argument == read and not within and one.op != "contains_any":
                        return True
                if sum(isinstance(argument, Read) for argument in one.args) > 1:
                    return True
    return False


def _class_axis(world: World, asking: Asking, read: frozenset[str]) -> list[Axis]:
    if not read & {CLASS, CLASS_RANK, PROTECTED}:
        return []
    ranks = range(asking.rank_min, len(world.classes))
    values = {
        CLASS: tuple(f"DataClass::{world.classes[rank]}" for rank in ranks),
        CLASS_RANK: tuple(ranks),
        PROTECTED: tuple(rank >= world.protected_from for rank in ranks),
    }
    return [Axis("class", len(ranks), values)]


def _principal_axes(asking: Asking, read: frozenset[str], expressions: Sequence[Expression]) -> list[Axis]:
    axes: list[Axis] = []
    if read & {PRINCIPAL_IN, ORGANISATION}:
        told = frozenset(named("Organisation", expressions))
        every = _entities("Organisation", asking.organisations)
        options = (*sorted(every & told), *sorted(every - told)[:1])
        parts = tuple(frozenset((one,)) for one in options)
        axes.append(Axis("organisation", len(options), {ORGANISATION: options}, {PRINCIPAL_IN: parts}))
    if read & {PRINCIPAL_IN, PRINCIPAL}:
        known = _named_and_other("Principal", expressions)
        parts = tuple(frozenset((one,)) for one in known)
        axes.append(Axis("principal", len(known), {PRINCIPAL: known}, {PRINCIPAL_IN: parts}))
    if PRINCIPAL_IN in read:
        for role in named("Role", expressions):
            options_of = (frozenset[str](), frozenset((role,)))
            axes.append(Axis(f"role {role.removeprefix('Role::')}", 2, parts={PRINCIPAL_IN: options_of}))
    return axes


def _age_axes(read: frozenset[str], expressions: Sequence[Expression]) -> list[Axis]:
    axes = []
    for name in sorted(one for one in read if one.startswith(f"{STALENESS}.")):
        cuts = {0}
        for expression in expressions:
            for one in nodes(expression):
                if isinstance(one, Op) and Read(name) in one.args:
                    others = [argument for argument in one.args if argument != Read(name)]
                    if one.op not in _COMPARISONS or not all(isinstance(other, Const) for other in others):
                        raise NotExpressible(f"{name} in anything but a comparison with a number")
                    for other in others:
                        if isinstance(other, Const):
                            cuts |= {other.value, other.value + 1}
        days = tuple(sorted(cut for cut in cuts if 0 <= cut <= INTEGER_MAX))  # no input holds more
        axes.append(Axis(name, len(days), {name: days}))
    return axes


# Deployments that could be declared


def _joint_axes(names: Sequence[str], universe: frozenset[str], expressions: Sequence[Expression]) -> list[Axis]:
    """Axes for sets that are compared with each other: membership of each element that stands for itself.

    Of a cell that is no more than there are comparisons, and no more than there are ways to be in some of the sets.
    """
    if not names:
        return []
    comparisons = {
        one
        for expression in expressions
        for one in nodes(expression)
        if isinstance(one, Op) and one.op in _SET_COMPARISONS and not reads(one).isdisjoint(names)
    }
    most = max(1, min(len(comparisons), 2 ** len(names)))
    inside, outside = _cells(universe, constants(READS[names[0]], expressions))
    axes = []
    for cell in [*inside, *([outside] if outside else [])]:
        count = min(len(cell), most)
        standing = [frozenset((element,)) for element in cell[: count - 1]] + [frozenset(cell[count - 1 :])]
        for name, element in itertools.product(names, standing):
            options = (frozenset[str](), element)
            axes.append(Axis(f"{name}[{min(element)}]", 2, parts={name: options}))
    return axes


def _fact_rules(name: str, world: World, read: frozenset[str]) -> list[Expression]:
    """What holds of every fact: never empty, unknown alone, anywhere means everywhere, what is known has a grade."""
    kind = READS[name]
    fact, rules = Read(name), []
    if not kind.startswith(SETS):
        unknown: Expression = Op("eq", (fact, Const(f"{kind}::{UNKNOWN}", kind)))
    elif name not in read:
        return []
    else:
        one = UNKNOWN if kind == SETS + STRING else f"Jurisdiction::{UNKNOWN}"
        unknown = Op("contains", (fact, Const(one, kind.removeprefix(SETS))))
        rules.append(negation(Op("is_empty", (fact,))))
        rules.append(Op("or", (negation(unknown), Op("eq", (fact, Const(frozenset((one,)), kind))))))
    if kind == SETS + "Jurisdiction":
        every = Const(_entities(kind.removeprefix(SETS), world.names["Jurisdiction"] - {UNKNOWN}), kind)
        anywhere = Op("contains", (fact, Const(f"Jurisdiction::{ANYWHERE}", "Jurisdiction")))
        rules.append(Op("or", (negation(anywhere), Op("contains_all", (fact, every)))))
    if f"{name}_grade" in read and name in read:
        rules.append(Op("eq", (unknown, Op("eq", (Read(f"{name}_grade"), Const(0, LONG))))))
    return rules


def _type_rules(world: World) -> list[Expression]:
    """A deployment may be declared to process in more places than its type says, or in unknown ones; not in fewer."""
    kind = SETS + "Jurisdiction"
    known = world.names["Jurisdiction"]

    def processes(op: str, codes: Iterable[str]) -> Expression:
        return Op(op, (Read(_PROCESSING), Const(_entities("Jurisdiction", known.intersection(codes)), kind)))

    unknown = processes("contains_any", (UNKNOWN,))
    zones = [processes("contains_all", codes) for codes in ZONES.values() if known.issuperset(codes)]
    extents = {
        GLOBAL_TYPES: [processes("contains_any", (ANYWHERE,))],
        ZONE_TYPES: zones,
        REGIONAL_TYPES: [processes("contains_any", REGIONS.values())],
    }
    rules = []
    for types, ways in extents.items():
        other: Expression = Op("not", (Op("contains", (_types(types), Read(_TYPE))),))
        for way in (*ways, unknown):
            other = Op("or", (other, way))
        rules.append(other)
    return rules


def _types(names: Iterable[str]) -> Const:
    return Const(_entities("DeploymentType", names), SETS + "DeploymentType")


def _word_axes(world: World, read: frozenset[str], expressions: Sequence[Expression]) -> list[Axis]:
    axes = []
    for name in sorted(read):
        kind = READS[name]
        if name.startswith(f"{RESOURCE}.") and kind == LONG:
            grades = tuple(range(_GRADE_MAX + 1))
            axes.append(Axis(name, len(grades), {name: grades}))
        elif name.startswith(f"{RESOURCE}.") and not kind.startswith(SETS) and kind not in _NAMED_FREELY:
            words = tuple(sorted(_entities(kind, world.names[kind])))
            axes.append(Axis(name, len(words), {name: words}))
    for kind, attribute in _NAMED_FREELY.items():
        if attribute in read or (RESOURCE_IN in read and kind != "Site"):
            names = _named_and_other(kind, expressions)
            parts = {} if kind == "Site" else {RESOURCE_IN: tuple(frozenset((one,)) for one in names)}
            axes.append(Axis(attribute, len(names), {attribute: names}, parts))
    return axes
