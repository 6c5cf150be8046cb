import random

from sekisho.gateway.routing import Route, Router
from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED, Decision


def decision(raw: tuple[str, ...], redacted: tuple[str, ...] = ()) -> Decision:
    return Decision(None, (), raw, redacted, b"{}", b"[]")  # type: ignore[arg-type]


def router() -> Router:
    return Router(random.Random(7))


def test_nothing_permitted_is_no_route() -> None:
    assert router().choose(decision(()), (), 0) is None


def test_raw_goes_before_redacted_and_failed_ones_are_passed_over() -> None:
    both = decision(("a",), ("b",))
    assert router().choose(both, (), 0) == Route("a", SEND_RAW)
    assert router().choose(both, {"a"}, 0) == Route("b", SEND_REDACTED)
    assert router().choose(both, {"a", "b"}, 0) is None


def test_an_ailing_deployment_rests_and_is_tried_again() -> None:
    subject = router()
    subject.failed("a", 0)
    assert {subject.choose(decision(("a", "b")), (), 10).deployment for _ in range(20)} == {"b"}  # type: ignore[union-attr]
    after = 2_000_000
    assert {subject.choose(decision(("a", "b")), (), after).deployment for _ in range(50)} == {"a", "b"}  # type: ignore[union-attr]


def test_when_all_are_ailing_one_is_tried_all_the_same() -> None:
    subject = router()
    subject.failed("a", 0)
    assert subject.choose(decision(("a",)), (), 1) == Route("a", SEND_RAW)


def test_the_less_expected_wait_wins() -> None:
    subject = router()
    subject.answered("slow", 500_000)
    subject.answered("quick", 1_000)
    assert subject.choose(decision(("slow", "quick")), (), 0) == Route("quick", SEND_RAW)
    for _ in range(1000):
        subject.started("quick")
    assert subject.choose(decision(("slow", "quick")), (), 0) == Route("slow", SEND_RAW)
    for _ in range(1001):
        subject.ended("quick")  # one more than started: never below zero
    assert subject.choose(decision(("slow", "quick")), (), 0) == Route("quick", SEND_RAW)
