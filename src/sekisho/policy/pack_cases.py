"""The cases of a pack: requests that people can read, with what must become of each. Decided by Cedar's engine. Pure.

`cases.toml` of a pack:
- `home`: the home jurisdictions;
- `[usual.request]` and `[usual.deployment]`: what a case has that doesn't say otherwise, key by key, fact by fact;
- `[[cases]]`: `title`, `title_ja`, `request`, `deployment`, `expect`, `by`, and where it isn't about sending, `ask`.

| `ask` | `expect` | |
|---|---|---|
| `send` (left out) | `raw`, `redacted`, `denied` | `by`: the pack's forbids that deny sending it as it is |
| `keep` | `kept`, `denied` | of what was sent, were there a permit to keep everything |
| `answer` | `given`, `masked` | a value of `label` in the answer; `by`: the pack's forbids that have it masked |

Facts are written as in declarations. A deployment's type is a word here: nothing is derived from it.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import cedarpy

from sekisho.catalog.facts import deployment_facts, provider_facts
from sekisho.catalog.interfaces import (
    DEPLOYMENT_TYPES,
    Boundary,
    Catalogue,
    DataClass,
    Deployment,
    Mistake,
    Model,
    Organisation,
    PolicyText,
    Provider,
)
from sekisho.catalog.jurisdictions import ISO_3166_1, expanded
from sekisho.catalog.table import Table, nearest
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import engine_only
from sekisho.policy.errors import PackMistakes
from sekisho.policy.interfaces import (
    CALLER,
    INPUT_VERSION,
    SEND_RAW,
    SEND_REDACTED,
    STALENESS_ROLES,
    Decider,
    DecisionInput,
    PolicyParts,
    PolicyTitle,
    PrincipalInput,
    Verdict,
)
from sekisho.policy.packs import CASES, PACKS, Pack, with_foundations
from sekisho.policy.schema import STANDING_LABELS

SEND: Final = "send"
KEEP: Final = "keep"
ANSWER: Final = "answer"
DENIED: Final = "denied"
UNDECIDED: Final = "undecided"  # an error: no case expects one
OUTCOMES: Final = {SEND: ("raw", "redacted", DENIED), KEEP: ("kept", DENIED), ANSWER: ("given", "masked")}
CASES_MAX: Final = 200  # of a pack: more than anybody reads
STALENESS_MAX: Final = 36_500  # days: a century
_CLASSES: Final = ("public", "internal", "confidential", "restricted")  # those of the starter
_JURISDICTIONS: Final = tuple(sorted(ISO_3166_1))
_SNAPSHOT: Final = "0" * 64
# Nothing is kept without a permit, and packs only forbid.
_KEEP_ALL: Final = PolicyText(
    "cases/keep.cedar",
    '@id("cases.keep") @title("For cases: keep all") @title_ja("ケース用：すべて保存") @retain_days("1")\n'
    'permit (principal, action == Action::"retain", resource);',
)
# A pack that stands by itself and only forbids is in force beside one that permits, whichever that is.
_SEND_ALL: Final = PolicyText(
    "cases/send.cedar",
    '@id("cases.send") @title("For cases: send all") @title_ja("ケース用：すべて送信")\n'
    'permit (principal, action in [Action::"sendRaw", Action::"sendRedacted"], resource);',
)


@dataclass(frozen=True, slots=True)
class PackCase:
    """One case. `asked` names its deployment as the model. `by` is None where the case doesn't say."""

    title: str
    title_ja: str
    ask: str
    expect: str
    by: tuple[str, ...] | None
    label: str | None
    asked: DecisionInput


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of a case. `by`: the pack's forbids behind it, sorted; `errors`: why it is `undecided`."""

    case: PackCase
    outcome: str
    by: tuple[str, ...]
    errors: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        return self.outcome == self.case.expect and self.case.by in (None, self.by)


class PackTrial:
    """A pack and what it builds on, compiled over a catalogue made of its cases.

    `labels`: all that inspection can find. Raises KeyError for a pack that doesn't ship, PackMistakes for cases that
    can't be read, PolicyMistakes for policies that don't hold.
    """

    def __init__(self, name: str, labels: tuple[str, ...]) -> None:
        packs = with_foundations(name)
        self.pack: Pack = packs[-1]
        reader = _CasesFile(self.pack, frozenset({*labels, *STANDING_LABELS}))
        self.cases: tuple[PackCase, ...] = reader.cases()
        sources = tuple(source for pack in packs for source in pack.sources)
        ours = (_KEEP_ALL,) if _permits(sources) else (_KEEP_ALL, _SEND_ALL)
        self.parts: PolicyParts = compile_policies(reader.catalogue(), (*sources, *ours), labels)
        policies = engine_only(self.parts, snapshot=_SNAPSHOT, epoch_from=0).policies
        self.rules: tuple[PolicyTitle, ...] = tuple(one for one in policies if self._is_ours(one))

    def results(self) -> Iterator[CaseResult]:
        """Each case decided, in their order."""
        decider = engine_only(self.parts, snapshot=_SNAPSHOT, epoch_from=0)
        for case in self.cases:
            yield self.result(case, decider)

    def result(self, case: PackCase, decider: Decider) -> CaseResult:
        """One case, by a decider over the parts of this trial, or over a change of them."""
        if case.ask == KEEP:
            kept = decider.retention(case.asked, case.asked.model, case.asked.labels_raw)
            return CaseResult(case, DENIED if kept is None else "kept", ())
        if case.ask == ANSWER:
            answering = decider.answering(case.asked, case.asked.model, SEND_RAW)
            masked = answering is not None and case.label in answering.mask
            reasons = answering.reasons if answering is not None and masked else ()
            return CaseResult(case, "masked" if masked else "given", self._forbids(reasons, decider))
        verdicts = {verdict.action: verdict for verdict in decider.decide(case.asked).verdicts}
        errors = tuple(error for verdict in verdicts.values() for error in verdict.errors)
        if errors:
            return CaseResult(case, UNDECIDED, (), errors)
        return CaseResult(case, _sent(verdicts), self._forbids(verdicts[SEND_RAW].reasons, decider))

    def _forbids(self, reasons: tuple[int, ...], decider: Decider) -> tuple[str, ...]:
        """Those of this pack alone."""
        policies = [decider.policies[index] for index in reasons]
        return tuple(sorted(one.id for one in policies if one.effect == "forbid" and self._is_ours(one)))

    def _is_ours(self, policy: PolicyTitle) -> bool:
        return policy.file.startswith(f"{PACKS}{self.pack.name}/")


def _permits(sources: Iterable[PolicyText]) -> bool:
    policies = (cedarpy.policies_to_pst(source.text).static_policies.values() for source in sources)
    return any(policy.effect == "permit" for found in policies for policy in found)


def _sent(verdicts: dict[str, Verdict]) -> str:
    if verdicts[SEND_RAW].permitted:
        return "raw"
    return "redacted" if SEND_REDACTED in verdicts and verdicts[SEND_REDACTED].permitted else DENIED


class _CasesFile:
    """Reads `cases.toml`, and gathers the deployments and organisations that its cases speak of."""

    def __init__(self, pack: Pack, labels: frozenset[str]) -> None:
        self._labels = labels
        self._file = f"{PACKS}{pack.name}/{CASES}"
        self._mistakes: list[Mistake] = []
        self._deployments: dict[str, Deployment] = {}  # by what is declared of them: equal ones are one
        self._providers: list[Provider] = []
        self._organisations: set[str] = set()
        self._table = Table(self._parsed(pack.cases), self._file, self._mistakes)
        self._home = self._table.take_codes("home", _JURISDICTIONS, remedy="Name the home jurisdictions") or ()
        usual = self._table.take_table("usual")
        self._usual_request = {} if usual is None else _plain(usual.take_table("request"))
        self._usual_deployment = {} if usual is None else _plain(usual.take_table("deployment"))
        if usual is not None:
            usual.finish()

    def _parsed(self, text: str) -> dict[str, Any]:
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            wrong = Mistake(self._file, "", f"is not TOML: {error}", "Correct the line; strings stand in quotes")
            raise PackMistakes((wrong,)) from None

    def cases(self) -> tuple[PackCase, ...]:
        raw = self._table.take("cases")
        if not isinstance(raw, list) or not 0 < len(raw) <= CASES_MAX or not all(isinstance(one, dict) for one in raw):
            self._table.mistake("cases", "are missing, or too many", f"Write 1 to {CASES_MAX} [[cases]]")
            raw = []
        self._table.finish()
        cases = [self._case(Table(one, self._file, self._mistakes, f"cases[{n}].")) for n, one in enumerate(raw)]
        if self._mistakes:
            raise PackMistakes(tuple(sorted(set(self._mistakes))))
        return tuple(case for case in cases if case is not None)

    def catalogue(self) -> Catalogue:
        """Each deployment stands alone under a model of its own name, so that one decision asks about one."""
        deployments = tuple(self._deployments.values())
        boundary = Boundary(
            home=tuple(sorted(self._home)),
            jurisdictions=_JURISDICTIONS,
            classes=tuple(DataClass(name, name, name) for name in _CLASSES),
            default_class="internal",
            default_residency=tuple(sorted(self._home)),
            packs=(),
        )
        organisations = tuple(Organisation(name, name) for name in sorted(self._organisations))
        models = tuple(Model(one.name, one.name) for one in deployments)
        return Catalogue(boundary, organisations, (), tuple(self._providers), models, deployments)

    def _case(self, table: Table) -> PackCase | None:
        title = table.take_text("title", remedy="Say in a line who sends what where, and what happens")
        title_ja = table.take_text("title_ja", remedy="Say it in Japanese too")
        ask = table.take_choice("ask", OUTCOMES, "what is asked", required=False) or SEND
        expect = table.take_choice("expect", OUTCOMES[ask], "what becomes of it")
        by = _texts(table, "by") if ask != KEEP and "by" in table.values else None
        if by is None and expect in (DENIED, "masked") and ask != KEEP:
            table.missing("by", "Name the forbids of this pack that do it; [] if it is none of them")
        label = table.take_choice("label", self._labels, "a label that something finds") if ask == ANSWER else None
        request = self._usual_request | _plain(table.take_table("request"))
        deployment = self._deployment(table, _plain(table.take_table("deployment")))
        table.finish()
        asked = self._asked(Table(request, table.file, table.mistakes, f"{table.prefix}request."), deployment)
        if title is None or title_ja is None or expect is None:
            return None
        return PackCase(title, title_ja, ask, expect, by, label, asked)

    def _asked(self, table: Table, deployment: str) -> DecisionInput:
        data_class = table.take_choice("class", _CLASSES, "a class") or ""
        residency = table.take_codes("residency", (*_JURISDICTIONS, "anywhere"), remedy="Say where the data may go")
        labels = _texts(table, "labels")
        for name in set(labels).difference(self._labels):
            remedy = nearest(name, self._labels, "Known are")
            table.mistake("labels", f"{name!r} is not a label that something finds", remedy)
        left = _texts(table, "left") if "left" in table.values else None
        if left is not None and not set(left) < set(labels):
            table.mistake(
                "left", "is not less than was found", "Name fewer labels; leave it out if none can be redacted"
            )
        roles = _texts(table, "roles") if "roles" in table.values else (CALLER,)
        organisation = table.take_text("organisation", default="default") or "default"
        self._organisations.add(organisation)
        staleness = _staleness(table)
        table.finish()
        return DecisionInput(
            v=INPUT_VERSION,
            snapshot=_SNAPSHOT,
            epoch_from=0,
            model=deployment,
            principal=PrincipalInput("a-caller", organisation, roles),
            data_class=data_class,
            residency=expanded(residency or (), _JURISDICTIONS),
            labels_raw=labels,
            labels_redacted=left or (),
            redactable=left is not None,
            staleness=staleness,
        )

    def _deployment(self, table: Table, said: dict[str, Any]) -> str:
        """The name of the deployment that is as usual but for what is `said`."""
        declared = self._usual_deployment | said
        for part in ("facts", "provider"):
            usual, here = self._usual_deployment.get(part, {}), said.get(part, {})
            both = isinstance(usual, dict) and isinstance(here, dict)
            declared[part] = usual | here if both else 0  # told below: it is no table
        known = json.dumps(declared, sort_keys=True, default=str)
        if known not in self._deployments:
            self._deployments[known] = self._read_deployment(table, declared)
        return self._deployments[known].name

    def _read_deployment(self, table: Table, declared: dict[str, Any]) -> Deployment:
        name = f"deployment-{len(self._deployments) + 1}"
        inner = Table(declared, table.file, table.mistakes, f"{table.prefix}deployment.")
        kind = inner.take_choice("type", DEPLOYMENT_TYPES, "a deployment type") or ""
        facts, provider = (
            inner.take_table(part) or Table({}, table.file, table.mistakes) for part in ("facts", "provider")
        )
        inner.finish()
        self._providers.append(Provider(name, name, provider_facts(provider, _JURISDICTIONS)))
        read = deployment_facts(facts, _JURISDICTIONS)
        facts.finish()
        provider.finish()
        return Deployment(
            name=name,
            model=name,
            provider=name,
            url="https://deployment.example/v1",
            dialect="openai",
            deployment_type=kind,
            facts=read,
            upstream_model=name,
        )


def _plain(table: Table | None) -> dict[str, Any]:
    return {} if table is None else table.values


def _staleness(table: Table) -> tuple[tuple[str, int], ...]:
    """Without the table: an installation that follows nobody."""
    ages = table.take_table("staleness")
    if ages is None:
        return ()
    days = tuple((role, ages.take_integer(f"{role}_days", 0, 0, STALENESS_MAX)) for role in STALENESS_ROLES)
    ages.finish()
    return days


def _texts(table: Table, key: str) -> tuple[str, ...]:
    """A list of words, sorted, which may be empty."""
    value = table.take(key)
    if value is None or value == []:
        return ()
    return tuple(sorted(table.as_list(key, value) or ()))
