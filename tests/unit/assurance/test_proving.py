"""Proving statements: exact against brute force over small worlds, and what is said of what can't be enumerated."""

import itertools
import random

import msgspec
import pytest

from random_policies import Policies, deployments
from sekisho.assurance.prove import FAILS, HOLDS, TOO_MANY, UNDECIDED, Prover
from sekisho.assurance.statements import read_statement, vocabulary
from sekisho.catalog.interfaces import Exemption, Fact, Grade, Model, Organisation, PolicyText, Site
from sekisho.policy.cases import World
from sekisho.policy.check import compile_policies
from sekisho.policy.compiled import deployment_values
from sekisho.policy.engine import CedarDecider
from sekisho.policy.entities import entities_at
from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED, STALENESS_ROLES, PrincipalInput
from sekisho.policy.reads import policy_reads
from sekisho.policy.schema import STANDING_LABELS
from sekisho.policy.search import Budget
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

SMALL_LABELS = ("egress.url", "jp.my_number", "opaque")
SMALL_ROLES = ("caller", "intern")
TOKYO = deployment("tokyo", processing=declared("JP"), storage=declared("JP"))
WORLD = deployment("world", processing=declared(*ANYWHERE), storage=declared("JP"))


def organisations(catalogued):
    """`default` may go anywhere and asks for nothing; `other` is confined to two places and to confidential data."""
    free = Organisation("default", "D", default_class="public", default_residency=ANYWHERE)
    confined = Organisation("other", "O", default_class="confidential", default_residency=("JP", "US"))
    return msgspec.structs.replace(catalogued, organisations=(free, confined))


def prover(catalogued, *texts, now_us=0):
    parts = compile_policies(catalogued, tuple(texts), LABELS)
    return Prover(parts, catalogued, snapshot=DIGEST, now_us=now_us), parts


def prove(made, text, catalogued, budget=None):
    return made.prove(read_statement(text, vocabulary(catalogued, made.world.names)), budget)


# Brute force


def every_request():
    """(DecisionInput, form, labels as they leave): everything that a gateway can let come, of the small world."""
    days = (0, 1, 2, 3)
    places = [tuple(sorted(some)) for count in (1, 2, 3) for some in itertools.combinations(("JP", "SG", "US"), count)]
    every = (*SMALL_LABELS, "secret.private_key")  # the last stands for those that no policy names
    holds = [some for count in range(5) for some in itertools.combinations(every, count)]
    roles = [(), ("caller",), ("intern",), ("caller", "intern")]
    ranks = {"default": 0, "other": 2}
    for organisation, lowest in ranks.items():
        within = [one for one in places if organisation == "default" or set(one) <= {"JP", "US"}]
        within += [ANYWHERE] if organisation == "default" else []
        for data_class, residency, held, role, key, age in itertools.product(
            CLASSES[lowest:], within, holds, roles, ("key-1", "someone"), days
        ):
            asked = decision_input(
                principal=PrincipalInput(key, organisation, role),
                data_class=data_class,
                residency=residency,
                staleness=tuple((one, age if one == "policy" else 0) for one in STALENESS_ROLES),
            )
            yield asked._replace(labels_raw=held, labels_redacted=held), SEND_RAW, held
            if set(held) <= {"jp.my_number", "secret.private_key"}:
                raw = tuple(sorted((*held, "secret.api_key")))
                yield asked._replace(labels_raw=raw, labels_redacted=held), SEND_REDACTED, held


REQUESTS = list(every_request())
STATEMENTS = {
    "no class:confidential+ to processing outside JP": lambda v, form, held, facts: (
        v.data_class in CLASSES[2:] and not facts["processing"] <= {"JP"}
    ),
    "no label:jp.my_number,opaque from not role:intern": lambda v, form, held, facts: (
        bool({"jp.my_number", "opaque"} & set(held)) and "intern" not in v.principal.roles
    ),
    "no redacted from principal:key-1 to storage unknown": lambda v, form, held, facts: (
        form == SEND_REDACTED and v.principal.id == "key-1" and "unknown" in facts["storage"]
    ),
    "no policy older than 2 and residency within JP to deployment:d0,d1": lambda v, form, held, facts: (
        dict(v.staleness)["policy"] > 2 and set(v.residency) <= {"JP"} and facts["name"] in ("d0", "d1")
    ),
    "no data from organisation:other to tenancy is shared and processing including US": lambda v, form, held, facts: (
        v.principal.organisation == "other" and facts["tenancy"] == {"shared"} and "US" in facts["processing"]
    ),
}


def breaches(decider, items, permitted_by):
    """For each statement, whether any request breaks it; `decider` is asked for every request that there is."""
    facts = {one.name: {key: set(fact.value) for key, fact in one.facts.items()} | {"name": one.name} for one in items}
    found = dict.fromkeys(permitted_by, False)
    for value, form, held in REQUESTS:
        decision = decider.decide_afresh(value)
        for name in decision.permitted_raw if form == SEND_RAW else decision.permitted_redacted:
            for text, is_against in permitted_by.items():
                found[text] = found[text] or is_against(value, form, held, facts[name])
    return found


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 60))])
def test_what_is_proved_is_what_brute_force_finds(seed):
    made = random.Random(seed)
    grammar = Policies(
        made, arithmetic=False, labels=SMALL_LABELS, roles=SMALL_ROLES, longs=("0", "2"),
        ranks=("context.class_rank", "context.staleness.policy_days"),
    )  # fmt: skip
    items = [one for one in deployments(made) if one.model == "m"]
    catalogued = organisations(catalogue(*items, packs=made.choice(((), (), ("jp-residency",)))))
    subject, parts = prover(catalogued, grammar.texts(made.randrange(2, 5)), now_us=2_000)
    decider = CedarDecider(parts, snapshot=DIGEST, epoch_from=2_000)
    current = [one for one in items if one.model == "m"]
    lapsed = {
        one.name: {
            key: msgspec.structs.replace(fact, value=("unknown",)) if fact.expires else fact
            for key, fact in one.facts.items()
        }
        for one in current
    }
    current = [msgspec.structs.replace(one, facts=lapsed[one.name]) for one in current]
    expected = breaches(_At(decider), current, STATEMENTS)
    for text, is_broken in expected.items():
        proof = prove(subject, text, catalogued)
        if proof.outcome == UNDECIDED:
            assert proof.obstacles
        else:
            assert proof.outcome == (FAILS if is_broken else HOLDS), text


class _At:
    """The decider, asked in the epoch that it is of."""

    def __init__(self, decider):
        self._decider = decider

    def decide_afresh(self, value):
        return self._decider.decide_afresh(value._replace(epoch_from=2_000))


@pytest.mark.parametrize("seed", range(100, 130))
def test_what_breaks_for_a_declared_deployment_breaks_for_any(seed):
    """And whatever is found for a deployment that could be declared, the engine permits: the prover asks it."""
    made = random.Random(seed)
    grammar = Policies(made, arithmetic=False, ranks=("context.class_rank", "context.staleness.policy_days"))
    catalogued = organisations(catalogue(*deployments(made), packs=()))
    subject, _ = prover(catalogued, grammar.texts(made.randrange(2, 6)))
    for text in STATEMENTS:
        statement = read_statement(text, vocabulary(catalogued, subject.world.names))
        declared_proof, any_proof = subject.prove(statement), subject.prove_of_anything(statement)
        assert TOO_MANY not in (declared_proof.outcome, any_proof.outcome)
        if declared_proof.outcome == FAILS:
            assert any_proof.outcome in (FAILS, UNDECIDED), text
        if any_proof.outcome == FAILS:
            assert any_proof.counter_example.facts is not None


def test_a_pack_that_holds_holds_for_whatever_is_declared_later():
    catalogued = catalogue(TOKYO)
    subject, _ = prover(catalogued)
    statement = read_statement(
        "no class:confidential+ to storage outside JP", vocabulary(catalogued, subject.world.names)
    )
    proof = subject.prove_of_anything(statement)
    assert (proof.outcome, proof.possible) == (HOLDS, True)
    weaker = read_statement("no data to storage outside JP", vocabulary(catalogued, subject.world.names))
    example = subject.prove_of_anything(weaker).counter_example
    assert dict(example.facts)["storage"] != "JP"


def test_a_fact_that_ends_is_looked_at_after_its_end():
    ending = deployment(
        "ending", processing=declared("JP"), storage=declared("JP"), tenancy=declared("dedicated", expires=5)
    )
    own = PolicyText(
        "policies/own.cedar",
        '@id("own") @title("t") @title_ja("題") forbid (principal, action, resource) '
        'when { resource.tenancy == Tenancy::"dedicated" };',
    )
    catalogued = catalogue(ending)
    subject, _ = prover(catalogued, own)
    proof = prove(subject, "no data to deployment:ending", catalogued)
    assert (proof.outcome, proof.counter_example.at_us) == (FAILS, 5)
    later, _ = prover(catalogued, own, now_us=5)
    assert prove(later, "no data to deployment:ending", catalogued).counter_example.at_us is None


def test_requests_that_can_not_come_are_said_to_be_none():
    catalogued = catalogue(TOKYO)  # whose default class is internal
    subject, _ = prover(catalogued)
    proof = prove(subject, "no class:public", catalogued)
    assert (proof.outcome, proof.possible) == (HOLDS, False)
    proof = prove(subject, "no data to processing outside JP", catalogued)
    assert (proof.outcome, proof.about, proof.cases) == (HOLDS, 0, 0)


def test_a_policy_that_can_not_be_enumerated_is_not_counted_on():
    def own(text):
        return PolicyText("policies/own.cedar", f'@id("own") @title("t") @title_ja("題") {text}')

    catalogued = catalogue(TOKYO)
    forbid = own('forbid (principal, action, resource) when { ip("10.0.0.1").isLoopback() };')
    subject, _ = prover(catalogued, forbid)
    holds = prove(subject, "no data to processing outside JP", catalogued)
    assert (holds.outcome, [policy for policy, _ in holds.obstacles]) == (HOLDS, ["own"])
    assert prove(subject, "no data to processing within JP", catalogued).outcome == FAILS
    subject, _ = prover(catalogued, own('forbid (principal, action, resource) unless { ip("10.0.0.1").isLoopback() };'))
    assert prove(subject, "no data to processing within JP", catalogued).outcome == UNDECIDED
    subject, _ = prover(
        catalogued, own('permit (principal, action == Action::"sendRaw", resource) when { "x" like "y" };')
    )
    assert prove(subject, "no data from role:x and not role:caller", catalogued).outcome == UNDECIDED


def test_too_many_cases_are_an_answer():
    catalogued = catalogue(TOKYO)
    subject, _ = prover(catalogued)
    proof = prove(subject, "no class:confidential+ to processing within JP", catalogued, Budget(3))
    assert proof.outcome == TOO_MANY
    assert "too many cases" in proof.why


def test_deployments_that_can_not_be_told_apart_are_one_kind():
    items = [deployment(f"d{n}", processing=declared("JP"), storage=declared("JP")) for n in range(30)]
    catalogued = catalogue(*items, WORLD)
    subject, _ = prover(catalogued)
    proof = prove(subject, "no data to processing within JP", catalogued)
    assert (proof.deployments, proof.kinds, proof.counter_example.alike) == (31, 2, 30)


PAIR = '[Label::"jp.my_number", Label::"secret.api_key"]'
ASTRAY = (
    "!context.residency.containsAll(resource.processing) && !resource.processing.containsAll(context.residency) && "
    '!context.residency.containsAny([Jurisdiction::"JP"]) && !resource.processing.containsAny([Jurisdiction::"JP", '
    'Jurisdiction::"unknown", Jurisdiction::"anywhere"])'
)


@pytest.mark.parametrize(
    ("condition", "anything"),
    [
        (f"context.labels.containsAny({PAIR}) && !context.labels.containsAll({PAIR})", False),  # a set held in part
        ('context.residency.contains(Jurisdiction::"anywhere")', False),  # a residency of everything there is
        (ASTRAY, True),  # two sets that each hold what the other does not, of places that no policy names
    ],
)
def test_cases_that_only_one_kind_of_request_is(condition, anything):
    own = PolicyText(
        "policies/own.cedar",
        '@id("own") @title("t") @title_ja("題") permit (principal, action == Action::"sendRaw", resource) '
        f"when {{ {condition} }};",
    )
    free = organisations(catalogue(TOKYO, packs=())).organisations[:1]
    catalogued = msgspec.structs.replace(catalogue(TOKYO, packs=()), organisations=free)
    subject, _ = prover(catalogued, own)
    statement = read_statement("no data", vocabulary(catalogued, subject.world.names))
    assert (subject.prove_of_anything(statement) if anything else subject.prove(statement)).outcome == FAILS


def test_statements_are_proved_without_exemptions():
    abroad = deployment("abroad", processing=declared("US"), storage=declared("JP"))
    plain = organisations(catalogue(abroad, packs=()))
    texts = PolicyText(
        "policies/own.cedar",
        '@id("own.all") @title("All") @title_ja("全部") permit (principal, action, resource);'
        '@id("own.jp") @title("JP") @title_ja("国内") forbid (principal, action, resource)'
        ' unless { resource.processing.contains(Jurisdiction::"JP") };',
    )
    trial = Exemption(
        name="trial", sha256="cd" * 32, organisation="default", policies=("own.jp",), classes=CLASSES,
        until=1_000_000, why="w", compensating_control="c", deployments=("abroad",), labels=LABELS,
    )  # fmt: skip
    exempt = msgspec.structs.replace(plain, exemptions=(trial,))
    made, parts = prover(exempt, texts)
    decider = CedarDecider(parts, snapshot=DIGEST, epoch_from=0)
    assert decider.decide(decision_input(residency=ANYWHERE)).permitted_raw == ("abroad",)
    assert prove(made, "no data to processing outside JP", exempt).outcome == HOLDS


def test_what_is_said_of_answers_is_no_obstacle():
    plain = catalogue(TOKYO)
    text = '@id("r") @title("R") @title_ja("題") forbid (principal, action == Action::"relayRaw", resource)'
    made, _ = prover(
        plain, PolicyText("policies/own.cedar", text + ' when { context.label == Label::"jp.my_number" };')
    )
    proof = prove(made, "no data to processing outside JP", plain)
    assert (proof.outcome, proof.obstacles) == (HOLDS, ())
    assert "context.label" not in proof.reads


def own(*texts):
    rules = (f'@id("own-{n}") @title("t") @title_ja("題") {text}\n' for n, text in enumerate(texts))
    return PolicyText("policies/own.cedar", "".join(rules))


def permit_when(condition, action="sendRaw"):
    return own(f'permit (principal, action == Action::"{action}", resource) when {{ {condition} }};')


def outcome(condition, text="no data", *, anything=False, action="sendRaw"):
    catalogued = catalogue(TOKYO, packs=())
    subject, _ = prover(catalogued, permit_when(condition, action))
    statement = read_statement(text, vocabulary(catalogued, subject.world.names))
    return subject.prove_of_anything(statement) if anything else subject.prove(statement)


MASKABLE = ", ".join(f'Label::"{name}"' for name in LABELS if name not in STANDING_LABELS)
NEITHER = (
    "!resource.provider_certifications.containsAll(resource.provider_legal_entity) && "
    "!resource.provider_legal_entity.containsAll(resource.provider_certifications) && "
    '!resource.provider_certifications.contains("unknown") && !resource.provider_legal_entity.contains("unknown")'
)


@pytest.mark.parametrize(
    "condition",
    [
        # A model, a provider and a site that are not declared yet.
        'resource.provider != Provider::"p" && resource.provider != Provider::"unknown"',
        'resource.model != Model::"m" && resource.model != Model::"n" && !(resource in Provider::"p")',
        'resource.site != Site::"home" && resource.site != Site::"unknown"',
        'resource != Deployment::"tokyo" && resource.storage.contains(Jurisdiction::"US")',
        # Each text is none that a policy names, and not the other's.
        NEITHER,
        f'{NEITHER} && !resource.provider_legal_entity.contains("\N{HORIZONTAL ELLIPSIS}")',
        "resource in resource.model && resource in [resource.provider]",
    ],
)
def test_whatever_could_be_declared_is_looked_at(condition):
    proof = outcome(condition, anything=True)
    assert (proof.outcome, proof.counter_example.deployment == "tokyo") == (FAILS, False)


@pytest.mark.parametrize(
    ("condition", "action"),
    [
        ("resource in resource.model", "sendRaw"),
        ("resource in [resource.provider]", "sendRaw"),
        ('principal == Principal::""', "sendRaw"),
        ('principal == Principal::"\N{HORIZONTAL ELLIPSIS}"', "sendRaw"),
        ('principal != Principal::"explain" && principal in Role::"none"', "sendRaw"),
        ("context.staleness.policy_days > 9007199254740990", "sendRaw"),
        ('context.labels.contains(Label::"secret.api_key")', "sendRedacted"),
        ("!(context has label) && resource has processing", "sendRaw"),
    ],
)
def test_a_counter_example_is_found_and_permitted_by_the_engine(condition, action):
    assert outcome(condition, action=action).outcome == FAILS


@pytest.mark.parametrize(
    ("condition", "action"),
    [
        ("context.staleness.policy_days > 9007199254740991", "sendRaw"),  # no input holds more
        ("context.staleness.policy_days > 9223372036854775806", "sendRaw"),
        # Nothing was masked.
        (f"context.labels.containsAll([{MASKABLE}])", "sendRedacted"),
        ("context has label", "sendRaw"),
        ('resource has "in" || context has "staleness.policy_days"', "sendRaw"),
    ],
)
def test_what_can_not_come_is_no_counter_example(condition, action):
    assert outcome(condition, action=action).outcome == HOLDS


@pytest.mark.parametrize(
    "text",
    [
        f"no data from role:{','.join('ab' * 240)}",
        f"no {'not ' * 240}data",
        f"no {'not ' * 241}label:opaque",
        f"no {' and '.join(['raw'] * 120)}",
    ],
)
def test_long_statements_are_proved(text):
    assert outcome("true", text).outcome == FAILS


def test_facts_end_in_the_order_in_which_the_engine_ends_them():
    made = random.Random(5)
    names = [f"d{n}" for n in range(4)]
    entities = [{"uid": {"type": "Deployment", "id": name}, "parents": [], "attrs": {"a": 0, "b": 0}} for name in names]
    for _ in range(50):
        lapses = [
            {
                "at": made.randrange(9),
                "deployment": made.choice(names),
                "model": "m",
                "attributes": {made.choice("ab"): n},
            }
            for n in range(made.randrange(9))
        ]
        world = World((), 0, frozenset(), {}, {"m": entities}, lapses)
        seen = list(world.spans(3))
        assert [name for name, at_us, _ in seen if at_us is None] == names
        assert {(name, at_us) for name, at_us, _ in seen if at_us} == {
            (lapse["deployment"], lapse["at"]) for lapse in lapses if lapse["at"] > 3
        }
        for name, at_us, values in seen:
            (now,) = [one for one in entities_at({"m": entities}, lapses, at_us or 3)["m"] if one["uid"]["id"] == name]
            assert values == deployment_values(now)


def test_the_work_is_bounded_however_many_deployments_differ():
    items = [deployment(f"d{n}", processing=declared("JP"), storage=declared("JP")) for n in range(40)]
    rules = own(
        *(f'permit (principal, action == Action::"sendRaw", resource == Deployment::"d{n}");' for n in range(40))
    )
    catalogued = catalogue(*items, packs=())
    subject, _ = prover(catalogued, rules)
    budget = Budget(20_000)
    assert prove(subject, "no data from role:x and not role:x", catalogued, budget).outcome == TOO_MANY
    assert budget.left > -20_000


# Every deployment that could be declared, declared: of what policies read of them here, there are so many.

SOME_PLACES = [some for count in (1, 2, 3) for some in itertools.combinations(("JP", "SG", "US"), count)]
GRADES = (Grade.DECLARED, Grade.CONTRACTUAL, Grade.OBSERVED)
POSSIBLE = {
    "processing": [UNKNOWN_FACT, *(Fact(some, grade) for some in (*SOME_PLACES, ANYWHERE) for grade in GRADES)],
    "storage": [UNKNOWN_FACT, *(declared(*some) for some in (*SOME_PLACES, ANYWHERE))],
    "provider": ["p", "later"],
    "model": ["m", "n", "later"],
    "site": ["home", None, "later"],
}
OF_ANY = (
    "no class:confidential+ to processing outside JP",
    "no redacted to storage unknown and processing below contractual",
    "no label:jp.my_number,opaque from not role:intern to not provider:p",
    "no data from organisation:other to processing including US and not site:home",
)


class FewReads(Policies):
    """Policies that read nothing of a deployment but what `POSSIBLE` varies."""

    def policy(self, effect=None):
        while True:
            text = super().policy(effect)
            read = {name.removesuffix("_grade") for name in policy_reads(text).deployment}
            if read <= POSSIBLE.keys() and 'Deployment::"' not in text and "storage_grade" not in text:
                return text


def every_deployment(read):
    """With each combination of what is read."""
    varying = {
        name: values if any(one.startswith((f"resource.{name}", "resource.in")) for one in read) else values[:1]
        for name, values in POSSIBLE.items()
    }
    for number, values in enumerate(itertools.product(*varying.values())):
        facts = dict(zip(varying, values, strict=True))
        names = {name: facts.pop(name) for name in ("provider", "model", "site")}
        yield msgspec.structs.replace(deployment(f"every{number}", **facts), **names)


@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(8, 200))])
def test_what_is_proved_of_any_deployment_is_what_is_proved_of_every_one_declared(seed):
    made = random.Random(seed)
    grammar = FewReads(
        made, arithmetic=False, labels=SMALL_LABELS, roles=SMALL_ROLES, longs=("0", "2"),
        ranks=("context.class_rank", "context.staleness.policy_days"),
    )  # fmt: skip
    texts = grammar.texts(made.randrange(2, 5))
    catalogued = organisations(catalogue(TOKYO, packs=()))
    subject, _ = prover(catalogued, texts)
    known = vocabulary(catalogued, subject.world.names)
    for statement in (read_statement(text, known) for text in OF_ANY):
        proof = subject.prove_of_anything(statement)
        every = list(every_deployment(proof.reads))
        if len(every) > 300 or proof.obstacles:
            continue
        later = msgspec.structs.replace(
            organisations(catalogue(*every, packs=())),
            providers=(*catalogued.providers, msgspec.structs.replace(catalogued.providers[0], name="later")),
            models=(*catalogued.models, Model("later", "L")), sites=(*catalogued.sites, Site("later", "L", "JP")),
        )  # fmt: skip
        assert proof.outcome == prover(later, texts)[0].prove(statement).outcome, statement.text
