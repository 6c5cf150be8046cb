"""How long a decision takes: from the memo, compiled, and from the engine, with 20 and 200 policies and 1, 8 and 64
candidates.

python bench/decide.py        # from the repository's root; prints microseconds of CPU time, the best of five rounds
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / directory) for directory in ("src", "tests")]

from sekisho.catalog.interfaces import PolicyText  # noqa: E402
from sekisho.policy.check import compile_policies  # noqa: E402
from sekisho.policy.engine import BOTH_FIRST, CedarDecider  # noqa: E402
from sekisho.policy.packs import load_pack  # noqa: E402
from sekisho.policy.source import split_policies  # noqa: E402
from support_decide import DIGEST, LABELS, catalogue, decision_input, declared, deployment  # noqa: E402

POLICIES = (20, 200)
ROUNDS = 5
ROUND_SECONDS = 0.3


def microseconds(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        count, started = 0, time.process_time()
        while (spent := time.process_time() - started) < ROUND_SECONDS:
            for _ in range(20):
                call()
            count += 20
        best = min(best, spent / count * 1e6)
    return best


def decider(policies: int, candidates: int, *, compiled: bool = True) -> CedarDecider:
    items = [
        deployment(f"d{number}", processing=declared("JP"), storage=declared("JP")) for number in range(candidates)
    ]
    rule = '@id("own-{n}") @title("t") @title_ja("t") forbid (principal, action, resource) when {{ {c} }};\n'
    conditions = ("context.class_rank > 2", "resource.processing_grade < 1", 'principal in Role::"suspended"')
    pack = sum(len(split_policies(source.text)) for source in load_pack("jp-residency").sources)
    own = "".join(rule.format(n=n, c=conditions[n % len(conditions)]) for n in range(policies - pack))
    parts = compile_policies(catalogue(*items), (PolicyText("policies/own.cedar", own),), LABELS)
    made = CedarDecider(parts, snapshot=DIGEST, epoch_from=0, compiled=compiled)
    assert len(made.policies) == policies
    assert made.compiles is compiled
    for _ in range(BOTH_FIRST):  # the first are made by both
        assert len(made.decide_afresh(decision_input()).permitted_raw) == candidates
    return made


def main() -> None:
    value = decision_input()
    for policies in POLICIES:
        for candidates in (1, 8, 64):
            for name, compiled in (("engine", False), ("compiled", True)):
                subject = decider(policies, candidates, compiled=compiled)
                spent = microseconds(lambda made=subject: made.decide_afresh(value))
                print(f"{name}, {policies} policies, {candidates:2} candidates: {spent:8.1f} µs")
    memo = decider(POLICIES[0], 8)
    print(f"memo: {microseconds(lambda: memo.decide(value)):.2f} µs")


if __name__ == "__main__":
    main()
