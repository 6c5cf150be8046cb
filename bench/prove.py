"""How long a proof takes: over the pack that ships and over larger trees, declared deployments and any that could be.

python bench/prove.py         # from the repository's root; prints milliseconds of CPU time, the best of three
"""

import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / directory) for directory in ("src", "tests")]

from sekisho.assurance.prove import Prover  # noqa: E402
from sekisho.assurance.statements import read_statement, vocabulary  # noqa: E402
from sekisho.catalog.interfaces import PolicyText  # noqa: E402
from sekisho.policy.check import POLICIES_MAX, compile_policies  # noqa: E402
from sekisho.policy.packs import load_pack  # noqa: E402
from sekisho.policy.source import split_policies  # noqa: E402
from support_decide import ANYWHERE, CLASSES, DIGEST, LABELS, catalogue, declared, deployment  # noqa: E402

ROUNDS = 3
STATEMENTS = (
    "no class:confidential+ to storage outside JP",
    "no label:jp.my_number and raw to processing outside JP",
    "no data from role:caller to deployment:d1",
)
PLACES = (("JP",), ("JP", "US"), ANYWHERE, ("unknown",))
MODELS = 50  # a model has at most 64 deployments


def own(count: int) -> PolicyText:
    """Forbids of one or two conditions, over what the schema has."""
    conditions = [
        f'context.class == DataClass::"{CLASSES[n % 4]}" && resource.processing_grade < {n % 4}' for n in range(count)
    ]
    for n in range(count):
        kind = n % 4
        if kind == 1:
            conditions[n] = f'principal in Role::"role-{n % 10}" && context.labels.contains(Label::"{LABELS[n % 6]}")'
        elif kind == 2:
            conditions[n] = f'resource.tenancy == Tenancy::"shared" && context.class_rank > {n % 4}'
        elif kind == 3:
            conditions[n] = f"context.staleness.policy_days > {30 + n % 7} && context.protected"
    rules = "".join(
        f'@id("own-{n}") @title("t") @title_ja("t") forbid (principal, action, resource) when {{ {one} }};\n'
        for n, one in enumerate(conditions)
    )
    return PolicyText("policies/own.cedar", rules)


def main() -> None:
    pack = sum(len(split_policies(source.text)) for source in load_pack("jp-residency").sources)
    for policies, deployments in ((pack, 3), (20, 64), (200, 64), (200, 3_000), (POLICIES_MAX, 64)):
        items = [
            deployment(
                f"d{n}", model=f"m{n % MODELS}", processing=declared(*PLACES[n % 4]),
                storage=declared(*PLACES[n // 4 % 4]), tenancy=declared(("shared", "dedicated")[n % 2]),
            )
            for n in range(deployments)
        ]  # fmt: skip
        catalogued = catalogue(*items)
        models = tuple(type(catalogued.models[0])(f"m{n}", "M") for n in range(MODELS))
        catalogued = type(catalogued)(
            **{name: getattr(catalogued, name) for name in catalogued.__struct_fields__} | {"models": models}
        )
        parts = compile_policies(catalogued, (own(policies - pack),), LABELS)
        started = time.process_time()
        made = Prover(parts, catalogued, snapshot=DIGEST, now_us=0)
        spent = (time.process_time() - started) * 1e3
        print(f"{policies} policies, {deployments} deployments: made in {spent:.0f} ms")
        known = vocabulary(catalogued, made.world.names)
        for text in STATEMENTS:
            statement = read_statement(text, known)
            for name, prove in (("declared", made.prove), ("any", made.prove_of_anything)):
                best = float("inf")
                for _ in range(ROUNDS):
                    started = time.process_time()
                    proof = prove(statement)
                    best = min(best, (time.process_time() - started) * 1e3)
                    if best > 2_000:
                        break
                said = f"{proof.cases:,} cases" if name == "declared" else ""
                print(f"  {best:9.1f} ms  {name:8}  {text}: {proof.outcome} {said}")


if __name__ == "__main__":
    main()
