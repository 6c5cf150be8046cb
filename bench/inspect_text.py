"""Microseconds per KiB that inspection takes, on honest and on hostile text.

    PYTHONPATH=src python bench/inspect_text.py

Processor time, the best of some rounds: other work on the machine only ever adds to it.
"""

import time

from sekisho.inspection.rules import compile_inspector, rules_bytes

SECONDS_PER_CASE = 0.2
SIZES_KIB = (1, 10, 100, 1024)
ENGLISH = "The quarterly report lists 42 items; please summarise it for the board by Friday, in two pages. "
JAPANESE = "これは日本語の質問です。サーバーの設定（ネットワーク）について、2026年の手順を教えてください。"
HOSTILE = {
    "digits": "1234567890",
    "at signs": "a@a",
    "phones": "090-1234-5678 ",
    "addresses": "a.b@example.com,",
    "rows of years": "2019 2020 2021\n",
    "PEM heads": "-----BEGIN PRIVATE KEY-----",
    "key prefixes": "task-aaaaaaaaaaaaaaaaaaaa ",
    "bearer": "bearer " + "a" * 40 + " ",
    "escapes": "\\u0031",
    "zero width": "1\u200b",
    "separators": "\x1e1",
    "other scripts' digits": "١٢٣٤",
    "numerals": "〇九〇－一二三四－五六七八",
    "written out": "⑫⑬",
    "near numbers": "1234-5678-9019 ",
    "near addresses": "千代田区霞が関3-4人",
    "context without values": "個人番号 口座番号 パスポート 免許証 1234567",
    "bidirectional": "\u202e8109\u202c 8765 ",
}


def text_of(unit: str, size: int) -> str:
    return (unit * (size // len(unit.encode()) + 1)).encode()[:size].decode(errors="ignore")


def main() -> None:
    started = time.process_time()
    inspector = compile_inspector(rules_bytes(("jp",)))
    print(f"compile: {(time.process_time() - started) * 1e3:.0f} ms")
    cases = [
        (f"{name}, {kib} KiB", text_of(unit, kib * 1024))
        for name, unit in (
            ("English", ENGLISH),
            ("Japanese", JAPANESE),
            ("Japanese, full-width digits", "２０２６年" + JAPANESE),
        )
        for kib in SIZES_KIB
    ]
    cases += [
        (f"hostile: {name}, {kib} KiB", text_of(unit, kib * 1024))
        for name, unit in HOSTILE.items()
        for kib in SIZES_KIB
    ]
    for name, text in cases:
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        best, end = float("inf"), time.process_time() + SECONDS_PER_CASE
        while best == float("inf") or time.process_time() < end:
            before = time.process_time()
            labels = inspector.inspect(body).labels
            best = min(best, time.process_time() - before)
        print(f"{name:42} {best * 1e6 / (len(text.encode()) / 1024):8.1f} µs/KiB  {', '.join(labels)}")


if __name__ == "__main__":
    main()
