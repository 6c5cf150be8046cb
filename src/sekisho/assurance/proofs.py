"""Proofs in words, as JSON values, and as mistakes in declarations. Pure."""

import datetime
import shlex
from typing import Any, Final

from sekisho.assurance.prove import HOLDS, NOBODY, CounterExample, Proof, Prover
from sekisho.assurance.statements import StatementError, read_statement, vocabulary
from sekisho.catalog.interfaces import ANYWHERE, Catalogue, Mistake
from sekisho.catalog.statements import STATEMENTS_FILE
from sekisho.policy.interfaces import PolicyParts
from sekisho.policy.search import STEPS_MAX, Budget

TEXT: Final = "What may leave?"  # of a counter-example's request, whose labels are supposed
TOGETHER_STEPS_MAX: Final = 2 * STEPS_MAX  # of all statements of one tree, before it is taken over
_NO_DIGEST: Final = "0" * 64  # of a snapshot that is not built yet
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def statement_mistakes(catalogue: Catalogue, parts: PolicyParts, now_us: int, place: str) -> list[Mistake]:
    """Of declared statements: those that can't be read, and those that don't hold. `place`: the installation's, for the
    commands that show it."""
    if not catalogue.statements:
        return []
    made = Prover(parts, catalogue, snapshot=_NO_DIGEST, now_us=now_us)
    known = vocabulary(catalogue, made.world.names)
    budget = Budget(TOGETHER_STEPS_MAX)
    mistakes = []
    for statement in catalogue.statements:
        try:
            proof = made.prove(read_statement(statement.text, known), budget.part(STEPS_MAX))
        except StatementError as error:
            mistakes.append(
                Mistake(
                    STATEMENTS_FILE, statement.id, f"{error.message}, at {error.text[error.start :]!r}", error.remedy
                )
            )
            continue
        if proof.outcome != HOLDS:
            mistakes.append(Mistake(STATEMENTS_FILE, statement.id, *_broken(statement.title, proof, place)))
    return mistakes


def _broken(title: str, proof: Proof, place: str) -> tuple[str, str]:
    """Problem and remedy."""
    example = proof.counter_example
    if example is None:
        obstacles = "; ".join(f"{policy} uses {why}" for policy, why in proof.obstacles)
        return f"can't be decided ({title}): {proof.why or obstacles}", "Narrow the statement, or simplify the policy"
    command = shlex.join(["sekisho", "explain", place, *explain_arguments(example), "--declarations"])
    return f"does not hold ({title}): {told(example)}", f"Mend the policies, the facts or the statement; see: {command}"


def told(example: CounterExample) -> str:
    """A counter-example in a line."""
    how = "redacted" if example.labels_left is not None else "raw"
    labels = ", ".join(example.labels if example.labels_left is None else example.labels_left) or "no labels"
    roles = ", ".join(example.roles) or "no roles"
    return (
        f"{', '.join(example.permits)} permit class {example.data_class} with {labels}, {how}, "
        f"from {example.organisation} ({roles}) to {example.deployment}"
    )


def proof_values(proof: Proof, declarations: bool) -> dict[str, Any]:
    """As JSON values."""
    example = proof.counter_example
    return {
        "about": proof.about,
        "any_deployment": proof.anything,
        "cases": None if proof.anything else proof.cases,  # where sets vary together, many of them are alike
        "counter_example": None if example is None else _example_values(example, declarations),
        "deployments": proof.deployments,
        "kinds": proof.kinds,
        "obstacles": [{"policy": policy, "why": why} for policy, why in proof.obstacles],
        "outcome": proof.outcome,
        "possible": proof.possible,
        "reads": list(proof.reads),
        "statement": proof.statement,
        "why": proof.why,
    }


def _example_values(example: CounterExample, declarations: bool) -> dict[str, Any]:
    arguments = explain_arguments(example) + (["--declarations"] if declarations else [])
    at = None if example.at_us is None else instant_text(example.at_us)
    values = {**example._asdict(), "at": at, "in_words": told(example), "staleness": dict(example.staleness)}
    return values | {"command": arguments, "explain": explain_body(example) | {"declarations": declarations}}


def explain_arguments(example: CounterExample) -> list[str]:
    """What `sekisho explain DIR` is given to see it permitted."""
    words = ["--model", example.model, "--text", TEXT, "--organisation", example.organisation]
    for role in example.roles:
        words += ["--role", role]
    words += ["--class", example.data_class, "--residency", _residency(example)]
    for label in example.labels or ("",):
        words += ["--label", label]
    if example.labels_left is not None:
        for label in example.labels_left or ("",):
            words += ["--left", label]
    words += [] if example.principal == NOBODY else ["--principal", example.principal]
    for role, days in example.staleness:
        words += ["--older", f"{role}={days}"] if days else []
    return words + ([] if example.at_us is None else ["--at", instant_text(example.at_us)])


def explain_body(example: CounterExample) -> dict[str, Any]:
    """The same for `POST /api/explain`."""
    body: dict[str, Any] = {
        "class": example.data_class,
        "labels": example.labels,
        "organisation": example.organisation,
        "principal": example.principal,
        "request": {"messages": [{"content": TEXT, "role": "user"}], "model": example.model},
        "residency": _residency(example),
        "roles": example.roles,
        "staleness": dict(example.staleness),
    }
    optional = {"at": example.at_us, "labels_left": example.labels_left}
    return body | {name: value for name, value in optional.items() if value is not None}


def _residency(example: CounterExample) -> str:
    return ANYWHERE if ANYWHERE in example.residency else ",".join(example.residency)


def instant_text(instant_us: int) -> str:
    """ISO 8601 with an offset, to the microsecond where it has them."""
    return (_EPOCH + datetime.timedelta(microseconds=instant_us)).isoformat()
