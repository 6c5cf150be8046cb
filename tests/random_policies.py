"""Random policies in Cedar that fit the schema of `support_decide`, and random requests: for holding deciders together.

Everything comes from the `random.Random` that is given, so a seed names a case.
"""

import cedarpy

from sekisho.catalog.interfaces import PolicyText
from sekisho.policy.interfaces import STALENESS_ROLES, PrincipalInput
from sekisho.policy.schema import schema_text
from support_decide import (
    ANYWHERE,
    CLASSES,
    DIGEST,
    LABELS,
    UNKNOWN_FACT,
    catalogue,
    decision_input,
    declared,
    deployment,
)

SCHEMA = cedarpy.Schema.from_str(schema_text(catalogue(deployment("d0")), LABELS))
ROLES = ("caller", "auditor", "intern")
PLACES = (("JP",), ("US",), ("JP", "US"), ("SG",), ANYWHERE, None)  # None: unknown
LONGS = ("0", "1", "2", "3", "7", "30", "9223372036854775807")
GRADES = ("resource.processing_grade", "resource.storage_grade", "resource.tenancy_grade")
RANKS = ("context.class_rank", "context.staleness.policy_days", "context.staleness.intel_days")
JURISDICTION_SETS = (
    "context.residency",
    "context.home",
    "resource.processing",
    "resource.storage",
    "resource.provider_nationality",
)
ENTITIES = {
    "context.class": ("DataClass", CLASSES),
    "resource.tenancy": ("Tenancy", ("dedicated", "shared", "unknown")),
    "resource.key_holder": ("KeyHolder", ("customer", "unknown")),
    "resource.deployment_type": ("DeploymentType", ("openai-compatible", "GlobalStandard")),
    "resource.provider": ("Provider", ("p", "unknown")),
    "resource.model": ("Model", ("m", "n")),
    "resource.site": ("Site", ("home", "unknown")),
    "principal.organisation": ("Organisation", ("default", "other")),
    "principal": ("Principal", ("key-1", "key-2")),
    "resource": ("Deployment", ("d0", "d1")),
    "action": ("Action", ("sendRaw", "sendRedacted")),
}


class Policies:
    """Policies by a grammar of typed expressions. `arithmetic`: with sums, which can overflow; `beyond`: with what the
    compiled form leaves to the engine."""

    def __init__(self, random, *, arithmetic=True, beyond=False, labels=LABELS, roles=ROLES, longs=LONGS, ranks=RANKS):
        self.random, self.arithmetic, self.beyond = random, arithmetic, beyond
        self.labels, self.roles, self.longs, self.ranks = labels, roles, longs, ranks

    def texts(self, count, keeping=False):
        """A permit and others, each of which Cedar's validator takes; `keeping`: with permits of keeping content."""
        found = []
        while len(found) < count:
            text = self.policy(effect=None if found else "permit")
            if cedarpy.validate_policies(text, SCHEMA).validation_passed:
                found.append(f'@id("p{len(found)}") @title("t") @title_ja("題") {text}')
        if keeping:
            keep = 'permit (principal, action == Action::"retain", resource)'
            found.append(
                f'@id("keep") @title("t") @title_ja("題") @retain_days("3") {keep} when {{ {self.boolean(2)} }};'
            )
        return PolicyText("policies/random.cedar", "\n".join(found))

    def policy(self, effect=None):
        pick = self.random.choice
        effect = effect or pick(("permit", "forbid", "forbid"))
        named = pick(('== Action::"sendRaw"', 'in [Action::"sendRaw", Action::"sendRedacted"]', ""))
        action = f"action {named}" if named or effect == "forbid" else 'action in [Action::"sendRaw"]'
        clauses = " ".join(
            f"{pick(('when', 'unless'))} {{ {self.boolean(3)} }}" for _ in range(self.random.randrange(3))
        )
        principal = pick(
            ("principal",) * 3 + (f'principal in Role::"{pick(self.roles)}"', 'principal == Principal::"key-1"')
        )
        principal = pick((principal, principal, 'principal is Principal in Organisation::"default"'))
        resource = pick(("resource",) * 3 + ('resource in Provider::"p"', 'resource == Deployment::"d0"'))
        return f"{effect} ({principal}, {action}, {resource}) {clauses};"

    def boolean(self, depth):
        if depth and self.random.random() < 0.6:
            left, right = self.boolean(depth - 1), self.boolean(depth - 1)
            chosen = f"(if {self.boolean(depth - 1)} then {left} else {right})"
            return self.random.choice((f"({left} && {right})", f"({left} || {right})", f"!({left})", chosen))
        return self.random.choice(
            (self._compared, self._compared, self._of_sets, self._of_sets, self._named, self._other)
        )()

    def _compared(self):
        return f"{self.long(2)} {self.random.choice(('<', '<=', '>', '>=', '==', '!='))} {self.long(2)}"

    def long(self, depth):
        if depth and self.arithmetic and self.random.random() < 0.2:
            left, right = self.long(depth - 1), self.long(depth - 1)
            return self.random.choice(
                (f"({left} + {right})", f"({left} - {right})", f"({left} * {right})", f"(-{left})")
            )
        return self.random.choice((*self.longs, *GRADES, *self.ranks, *self.ranks))

    def _of_sets(self):
        kind = self.random.choice(("Jurisdiction", "Jurisdiction", "Label", "String"))
        left, right = self._set(kind), self._set(kind)
        return self.random.choice(
            (f"{left}.containsAll({right})", f"{left}.containsAny({right})", f"{left} == {right}", f"{left} != {right}")
            + (
                f"{left}.isEmpty()",
                f"{left}.contains({self._element(kind)})",
                f"{left}.contains({self._element(kind)})",
            )
            + ((f"{self._element(kind)} in {left}",) if kind != "String" else ())
        )

    def _element(self, kind):
        names = {
            "Jurisdiction": ("JP", "US", "SG", "anywhere", "unknown"),
            "Label": self.labels,
            "String": ("ISMAP", "unknown"),
        }
        name = self.random.choice(names[kind])
        return f'"{name}"' if kind == "String" else f'{kind}::"{name}"'

    def _set(self, kind):
        reads = {
            "Jurisdiction": JURISDICTION_SETS,
            "Label": ("context.labels",),
            "String": ("resource.provider_certifications",),
        }
        literal = f"[{', '.join(self._element(kind) for _ in range(self.random.randrange(1, 4)))}]"
        chosen = self.random.choice((*reads[kind], *reads[kind], literal))
        if self.random.random() < 0.1:
            return f"(if {self.boolean(0)} then {chosen} else {literal})"
        return chosen

    def _named(self):
        name = self.random.choice(tuple(ENTITIES))
        kind, values = ENTITIES[name]
        value = f'{kind}::"{self.random.choice(values)}"'
        other = f'{kind}::"{self.random.choice(values)}"'
        return self.random.choice(
            (f"{name} == {value}", f"{name} != {value}", f"{name} in [{value}, {other}]", f"{name} in {value}")
        )

    def _other(self):
        pick = self.random.choice
        found = (
            f'principal in Role::"{pick(self.roles)}"',
            f'principal in [Role::"{pick(self.roles)}", Role::"{pick(self.roles)}"]',
            'resource in Provider::"p"',
            'resource in Model::"m"',
            "context.protected",
            *("resource has processing", "context has staleness.policy_days", "principal is Principal"),
            # What is there for none of the actions that send, or for nothing at all.
            *("context has label", 'context has label && context.label == Label::"opaque"', "principal is Deployment"),
            *('resource has "in"', 'context has "staleness.policy_days"', "resource has nothing"),
            *("resource in resource.model", "principal in principal.organisation", "principal in [principal]"),
            f'[resource.model, Model::"{pick("mn")}"].containsAll([resource.model])',
            f'[if {self.boolean(0)} then Jurisdiction::"JP" else Jurisdiction::"US"].contains(Jurisdiction::"JP")',
            f'context.residency.contains(if {self.boolean(0)} then Jurisdiction::"JP" else Jurisdiction::"SG")',
            f"({self.boolean(0)}) == ({self.boolean(0)})",
            'resource is Deployment in Provider::"p"',
            f"[{self.long(0)}, {self.long(0)}].contains({self.long(0)})",
            pick(("true", "false")),
        )
        beyond = (
            'ip("10.0.0.1").isLoopback()',
            'Deployment::"d0" in Provider::"p"',
            '"JP" like "J*"',
            'Deployment::"e0".processing_grade > 0',
            "[context.residency].contains(context.home)",
            f"(if {self.long(2)} > 0 then resource else resource) is Deployment",
            # The validator does not look at the types of what it knows to be dead.
            *("1 == true", 'principal in Label::"opaque" && (1 < "a")', "[[1, 2]].contains([2, 1])"),
            f'(if principal is Deployment then context.class else principal) in Role::"{pick(self.roles)}"',
            'principal in Jurisdiction::"JP" && context.label == Label::"opaque"',
        )
        return pick(beyond if self.beyond and self.random.random() < 0.5 else found)


def deployments(random, count=3):
    def fact(value, **more):
        return UNKNOWN_FACT if value is None else declared(*value, **more)

    found = [deployment("e0", model="n")]
    for number in range(count):
        ends = {"expires": 1_000} if random.random() < 0.3 else {}
        tenancy = random.choice((("shared",), ("dedicated",), None))
        facts = {"processing": fact(random.choice(PLACES), **ends), "storage": fact(random.choice(PLACES))}
        found.append(
            deployment(
                f"d{number}", **facts, tenancy=fact(tenancy), key_holder=fact(random.choice((("customer",), None)))
            )
        )
    return found


def request(random, *, strange=0.05, epoch_from=0, labels=LABELS):
    """A DecisionInput; `strange` of them name what the schema doesn't have, or nothing where something must be."""
    pick = random.choice

    def odd(value, otherwise):
        return pick(otherwise) if random.random() < strange else value

    def some(values, most):
        return tuple(sorted(random.sample(values, random.randrange(most + 1))))

    raw = some(labels, 3)
    days = tuple((role, pick((0, 1, 3, 7, 8, 30, 31))) for role in STALENESS_ROLES)
    return decision_input(
        snapshot=odd(DIGEST, ("cd" * 32,)),
        epoch_from=odd(epoch_from, (7,)),
        model=odd("m", ("n", "none")),
        principal=PrincipalInput(
            pick(("key-1", "key-2", "key-3")), odd(pick(("default", "other")), ("stranger",)), some(ROLES, 3)
        ),
        data_class=odd(pick(CLASSES), ("secret",)),
        residency=odd(pick((("JP",), ("JP", "US"), ("SG", "US"), ANYWHERE)), ((), ("XX",), ("unknown",))),
        labels_raw=odd(raw, (("no.such",),)),
        labels_redacted=pick((raw, (), some(labels, 2))),
        redactable=random.random() < 0.8,
        staleness=pick(((), days)),
    )
