"""What answer redaction costs: characters held back, microseconds per chunk, and chunks per second through the relay.

    PYTHONPATH=src python bench/rewrite_answers.py

`text` is the masking of a text alone; `relay` is what the gateway does with a chunk, from the upstream's bytes to the
caller's (split, parse, mask, write again, commit), without sockets. CPU time, the least of some rounds: other work on
the machine only ever adds to it.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable

import orjson

from sekisho.gateway.dialects.operations import CHAT
from sekisho.gateway.dialects.surfaces import OPENAI, Call
from sekisho.gateway.metrics import Metrics
from sekisho.gateway.relay import StreamRelay
from sekisho.gateway.rewriting.answers import AnswerRewriter
from sekisho.inspection.interfaces import HeldTooMuch, Masking
from sekisho.inspection.rules import compile_inspector, rules_bytes
from sekisho.ledger.commitments import Commitment

ROUNDS = 10
CHUNKS = 4_000
JAPANESE = "これは日本語の回答です。サーバーの設定（ネットワーク）について、2026年の手順を説明します。担当は山田です。"
ENGLISH = "The quarterly report lists 42 items; here is a summary for the board, in two pages, as you asked. "
VALUES = (
    *("1234-5678-9018", "個人番号は123456789018", "taro.yamada@example.co.jp", "090-1234-5678", "4111 1111 1111 1111"),
    *("ghp_" + "0a1B2c3D4e" * 4, "api key: " + "0a1B2c3D" * 5),
)


def main() -> None:
    inspector = compile_inspector(rules_bytes(("jp",)))
    labels = frozenset({"jp.my_number", "phone", "email", "payment_card", "secret.api_key", "secret.private_key"})
    started = time.process_time()
    masking = inspector.masking(labels)
    print(f"made once for {len(labels)} labels: {(time.process_time() - started) * 1e3:.0f} ms")
    chance = random.Random(1)
    texts = {
        "Japanese": [JAPANESE] * 100,
        "English": [ENGLISH] * 100,
        "with values": [chance.choice((JAPANESE, ENGLISH, *VALUES)) + chance.choice("。 、\n") for _ in range(300)],
        "hostile: digits": ["1234 5678 90-"] * 300,
        "hostile: at signs": ["a@a.a"] * 800,
        "hostile: key heads": ["-----BEGIN PRIVATE "] * 300,
        "hostile: one long word": ["aB3x"] * 1_000,
    }
    for name, parts in texts.items():
        pieces = tokens("".join(parts), chance)
        try:
            masking.whole("".join(pieces), Counter())
            of_text(masking, pieces)
        except HeldTooMuch as error:
            print(f"{name:24} withheld: {error}")
            continue
        held, per_piece = of_text(masking, pieces)
        held.sort()
        shown = [held[len(held) // 2], held[len(held) * 95 // 100], held[-1]]
        relayed, raw = of_relay(pieces, masking), of_relay(pieces, None)
        print(
            f"{name:24} held p50 {shown[0]:3} p95 {shown[1]:3} max {shown[2]:5} characters; text {per_piece:6.1f} µs; "
            f"relay {relayed:6.1f} µs per chunk ({1e6 / relayed:9,.0f}/s), without masking {raw:5.1f} µs "
            f"({1e6 / raw:9,.0f}/s)"
        )


def tokens(text: str, chance: random.Random) -> list[str]:
    """A text as models give it: one to six characters at a time."""
    pieces, place = [], 0
    while place < len(text) and len(pieces) < CHUNKS:
        size = chance.randint(1, 3 if ord(text[place]) > 0x2000 else 6)
        pieces.append(text[place : place + size])
        place += size
    return pieces


def of_text(masking: Masking, pieces: list[str]) -> tuple[list[int], float]:
    held: list[int] = []

    def once() -> None:
        held.clear()
        text = masking.text(Counter())
        for piece in pieces:
            text.feed(piece)
            held.append(text.held)
        text.end()

    return held, best(once) / len(pieces)


class Sink:
    """A responder, an exchange and an attempt that take everything and do nothing."""

    keeping = None
    metrics = Metrics()
    request_id = ""

    def write(self, data: bytes) -> bool:
        return True

    def nothing(self, *_: object, **__: object) -> None: ...

    start_stream = end = on_writable = pause = resume = abort = settle = nothing


def of_relay(pieces: list[str], masking: Masking | None) -> float:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [
        b"data: "
        + orjson.dumps({**base, "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        + b"\n\n"
        for piece in pieces
    ]
    sink = Sink()

    async def once() -> None:
        rewriter = None if masking is None else AnswerRewriter(masking, {})
        relay = StreamRelay(sink, sink, sink, Commitment(b"s" * 32), Call(CHAT, OPENAI), [], sink.nothing, rewriter)  # type: ignore[arg-type]
        for event in events:
            relay.data(event)
        relay.data(b"data: [DONE]\n\n")
        await relay.done

    return best(lambda: asyncio.run(once())) / len(events)


def best(work: Callable[[], None]) -> float:
    """CPU microseconds of the quickest of some rounds."""
    found = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        found = min(found, time.process_time() - started)
    return found * 1e6


if __name__ == "__main__":
    main()
