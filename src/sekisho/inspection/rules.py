"""The rule set as data, and the inspector compiled from it.

The snapshot stores `rules_bytes()`; a gateway compiles what the snapshot holds, so that what was looked for can be
read, and re-performed, long after the code has moved on.

A rule finds a value in three steps. `anchor` (hyperscan) finds its place in one pass over all text. `shape`
(Python's `re`) gives its exact extent with look-arounds: with a `tail`, it must begin where the anchor does, and may
go on for `tail` bytes beyond it; without, it is looked for within the anchor and a small margin. `check` names a
function in `checks`. With `context`, one of these words must stand near. Both patterns work on UTF-8 bytes of folded
text (`normalise`).
Borders are written as ASCII classes: a Unicode `\\b` sees none between a Japanese letter and a digit.
"""

import re
from typing import Any, Final

import msgspec

from sekisho.inspection.checks import CHECKS
from sekisho.inspection.errors import RulesError
from sekisho.inspection.interfaces import Inspector
from sekisho.inspection.redaction import JsonInspector
from sekisho.inspection.scanner import Rule, Scanner
from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError

FORMAT: Final = 1
TAIL_MAX: Final = 20_000  # a PEM file of an RSA key of 16,384 bits has 12.8 kB
SECRET_TAIL: Final = 4_096  # tokens are header-sized; nobody issues longer ones


class RuleData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule as it stands in the snapshot."""

    label: str
    anchor: str
    shape: str
    check: str
    tail: int
    context: list[str]


class RuleSetData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    rules: list[RuleData]


_MY_NUMBER_WORDS: Final = [
    *("個人番号", "マイナンバー", "マイ・ナンバー", "マイ ナンバー", "ﾏｲﾅﾝﾊﾞｰ", "番号法", "通知カード", "特定個人情報"),
    *("my number", "my_number", "my-number", "mynumber", "individual number", "individual_number", "kojin bango"),
    *("kojin_bango", "social security and tax number"),
]
_PHONE_WORDS: Final = [
    "電話",
    "でんわ",
    "携帯",
    "連絡先",
    "ファックス",
    "ファクス",
    "tel",
    "phone",
    "fax",
    "mobile",
    "call",
]
_GAP: Final = "[ \\t\\r\\n._/-]{1,2}"
# A group of four in a longer row of such groups is a table (or a card), so spaces must not lead on to another one.
_ROW_BEFORE: Final = "(?:[^0-9 \\t]|[^0-9][ \\t]|[^0-9][0-9]{1,3}[ \\t])"
_ROW_AFTER: Final = "(?:[^0-9 \\t]|[ \\t][^0-9]|[ \\t][0-9]{1,3}[^0-9])"
_NOT_IN_WORD: Final = "(?<![A-Za-z0-9])"


def _my_number() -> list[RuleData]:
    label, check = "jp.my_number", "my_number"
    return [
        RuleData(label, "[^0-9][0-9]{12}[^0-9]", "(?<![0-9])[0-9]{12}(?![0-9])", check, 0, _MY_NUMBER_WORDS),
        RuleData(  # 1234-5678-9018: the printed form, strong enough by itself
            label,
            f"{_ROW_BEFORE}[0-9]{{4}}[ -][0-9]{{4}}[ -][0-9]{{4}}{_ROW_AFTER}",
            "(?<![0-9])(?<![0-9]{4}[ -])[0-9]{4}([ -])[0-9]{4}\\1[0-9]{4}(?![0-9]|[ -][0-9]{4})",
            check,
            0,
            [],
        ),
        RuleData(
            label,
            f"[^0-9][0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}[^0-9]",
            f"(?<![0-9])[0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}(?![0-9])",
            check,
            0,
            _MY_NUMBER_WORDS,
        ),
        RuleData(  # digit by digit
            label,
            "[^0-9](?:[0-9][ -]){11}[0-9][^0-9]",
            "(?<![0-9])(?<![0-9][ -])(?:[0-9][ -]){11}[0-9](?![0-9]|[ -][0-9])",
            check,
            0,
            _MY_NUMBER_WORDS,
        ),
    ]


def _phone() -> list[RuleData]:
    label, before = "phone", "(?:(?<![A-Za-z0-9])(?<![0-9][.,])(?<![0-9]-)|(?<=[Tt][Ee][Ll])|(?<=[Ff][Aa][Xx]))"
    separator = "[ ().-]{1,2}"
    return [
        RuleData(  # 09012345678 and 090-1234-5678
            label,
            "0[5-9]0[ ().-]{0,2}[0-9]{4}[ ().-]{0,2}[0-9]{4}[^0-9]",
            f"{before}0[5-9]0[ ().-]{{0,2}}[0-9]{{4}}[ ().-]{{0,2}}[0-9]{{4}}(?![0-9A-Za-z]|[.,][0-9])",
            "domestic_phone",
            0,
            [],
        ),
        RuleData(  # 03-1234-5678, (0463)12-3456, 0120-123-456
            label,
            "\\(?0[0-9]{1,4}[ ()-]{1,2}[0-9]{1,4}[ ()-]{1,2}[0-9]{3,4}[^0-9]",
            f"{before}\\(?0[0-9]{{1,4}}[ ()-]{{1,2}}[0-9]{{1,4}}[ ()-]{{1,2}}[0-9]{{3,4}}(?![0-9A-Za-z]|[.,-][0-9])",
            "domestic_phone",
            0,
            [],
        ),
        RuleData(  # 0312345678: ten digits are too common to go by alone
            label,
            "[^0-9]0[1-9][0-9]{8}[^0-9]",
            f"{before}0[1-9][0-9]{{8}}(?![0-9A-Za-z]|[.,][0-9])",
            "domestic_phone",
            0,
            _PHONE_WORDS,
        ),
        RuleData(  # +81 90-1234-5678, +1 (415) 555-0132
            label,
            "\\+[1-9](?:[ ().-]{0,2}[0-9]){7}",
            f"(?<![A-Za-z0-9+])\\+[1-9][0-9]{{0,3}}(?:{separator}[0-9]{{1,5}}){{1,5}}(?![0-9A-Za-z])"
            "|(?<![A-Za-z0-9+])\\+[1-9][0-9]{8,14}(?![0-9A-Za-z]|[.,][0-9])",
            "international_phone",
            0,
            [],
        ),
    ]


def _email() -> list[RuleData]:
    local = "[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    return [
        RuleData(
            "email",
            f"{local}@[A-Za-z0-9]",
            f"{local}@[A-Za-z0-9-]{{1,63}}(?:\\.[A-Za-z0-9-]{{1,63}}){{1,8}}",
            "email",
            255,  # RFC 5321 section 4.5.3.1.2
            [],
        )
    ]


def _payment_card() -> list[RuleData]:
    label = check = "payment_card"
    return [
        RuleData(
            label,
            "[^0-9][2-6][0-9]{12,18}[^0-9]",
            "(?<![0-9A-Za-z])(?<![0-9][.])[2-6][0-9]{12,18}(?![0-9A-Za-z]|[.][0-9])",
            check,
            0,
            [],
        ),
        RuleData(
            label,
            f"{_ROW_BEFORE}[2-6][0-9]{{3}}(?:[ -][0-9]{{4}}){{3}}(?:{_ROW_AFTER}|[ -][0-9]{{3}}[^0-9])",
            "(?<![0-9])(?<![0-9]{4}[ -])[2-6][0-9]{3}([ -])[0-9]{4}\\1[0-9]{4}\\1[0-9]{4}(?:\\1[0-9]{3})?"
            "(?![0-9]|[ -][0-9]{4})",
            check,
            0,
            [],
        ),
        RuleData(
            label,
            "[^0-9]3[0-9]{3}[ -][0-9]{6}[ -][0-9]{4,5}[^0-9]",
            "(?<![0-9])3[0-9]{3}([ -])[0-9]{6}\\1[0-9]{4,5}(?![0-9])",
            check,
            0,
            [],
        ),
    ]


# (prefix, characters that follow at least, whether more may follow): formats as their issuers publish them.
_TOKENS: Final = (
    ("sk-", "[A-Za-z0-9_-]", 20, True),
    ("(?:AKIA|ASIA)", "[A-Z2-7]", 16, False),
    ("gh[pousr]_", "[A-Za-z0-9]", 36, True),
    ("github_pat_", "[A-Za-z0-9_]", 22, True),
    ("gl(?:pat|ptt|dt|rt|cbt|soat)-", "[A-Za-z0-9_-]", 20, True),
    ("xox[abeoprs]-", "[A-Za-z0-9-]", 10, True),
    ("xapp-", "[A-Za-z0-9-]", 20, True),
    ("AIza", "[A-Za-z0-9_-]", 35, False),
    ("ya29\\.", "[A-Za-z0-9_-]", 20, True),
    ("[rs]k_(?:live|test)_", "[A-Za-z0-9]", 16, True),
    ("hf_", "[A-Za-z0-9]", 30, True),
    ("gsk_", "[A-Za-z0-9]", 40, True),
    ("xai-", "[A-Za-z0-9]", 40, True),
    ("npm_", "[A-Za-z0-9]", 36, False),
    ("pypi-", "[A-Za-z0-9_-]", 50, True),
    ("SG\\.", "[A-Za-z0-9_.-]", 60, True),
    ("d(?:op|oo)_v1_", "[a-f0-9]", 64, False),
    ("dapi", "[a-f0-9]", 32, True),
)


def _api_key() -> list[RuleData]:
    label, rules = "secret.api_key", []
    for prefix, characters, count, more in _TOKENS:
        end = f"{{{count},{SECRET_TAIL}}}" if more else f"{{{count}}}(?![A-Za-z0-9])"
        shape = f"{_NOT_IN_WORD}{prefix}{characters}{end}"
        rules.append(RuleData(label, f"{prefix}{characters}{{{count}}}", shape, "secret", SECRET_TAIL, []))
    part = "[A-Za-z0-9_-]"
    rules.append(
        RuleData(  # a JSON Web Token, RFC 7519: header and claims start with `{"`
            label,
            f"eyJ{part}{{10}}",
            f"{_NOT_IN_WORD}eyJ{part}{{10,400}}\\.eyJ{part}{{6,{SECRET_TAIL}}}(?:\\.{part}{{0,1024}})?",
            "secret",
            SECRET_TAIL + 1_024,
            [],
        )
    )
    named = (
        "(?:api[_ -]?key|access[_ -]?key|subscription[_ -]?key|account[_ -]?key|secret[_ -]?key|bearer|auth[_ -]?token)"
    )
    between = "[\"'\\\\]{0,3}[ \\t]{0,3}[:=]?[ \\t\"'\\\\]{0,5}"
    rules.append(
        RuleData(  # keys without a format of their own (Azure, AWS secrets, bearer tokens), by the name before them
            label,
            f"(?i:{named}){between}[A-Za-z0-9+/_~.:-]{{32}}",
            f"(?i:{named}){between}(?P<value>[A-Za-z0-9+/_~.:-]{{32,{SECRET_TAIL}}}={{0,2}})",
            "secret",
            SECRET_TAIL,
            [],
        )
    )
    return rules


def _private_key() -> list[RuleData]:
    head = "-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    end = "-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    # Cut off before its END line it is still a key: then everything that looks like its base64 goes.
    cut = "(?:(?:\\\\[nr]|[ \\t\\r\\n])*[A-Za-z0-9+/=]{16,})*"
    return [
        RuleData(
            "secret.private_key",
            head,
            f"{head}(?:(?:(?!-----)[\\s\\S]){{0,16384}}{end}|{cut})",
            "always",
            TAIL_MAX,
            [],
        )
    ]


def rules_bytes() -> bytes:
    """The built-in rule set as canonical JSON: a part of the snapshot."""
    rules = [*_my_number(), *_phone(), *_email(), *_payment_card(), *_api_key(), *_private_key()]
    return canonical.encode(msgspec.to_builtins(RuleSetData(FORMAT, rules)))


def compile_inspector(rules: bytes) -> Inspector:
    """The inspector for a rule set; raises RulesError for bytes that are no rule set we can run.

    One inspector belongs to one thread: hyperscan's scratch space is not shared.
    """
    return JsonInspector(Scanner(_read(rules)), rules)


def _read(rules: bytes) -> tuple[Rule, ...]:
    remedy = "Build the snapshot again with this version of Sekisho"
    try:
        data: Any = canonical.decode(rules)
        rule_set = msgspec.convert(data, RuleSetData)
    except (CanonicalError, msgspec.ValidationError) as error:
        raise RulesError(f"the inspection rules can't be read: {error}", remedy=remedy) from None
    if rule_set.format != FORMAT:
        raise RulesError(f"inspection rules of format {rule_set.format}, this software reads {FORMAT}", remedy=remedy)
    return tuple(_rule(rule, remedy) for rule in rule_set.rules)


def _rule(data: RuleData, remedy: str) -> Rule:
    if data.check not in CHECKS:
        raise RulesError(
            f"a rule for {data.label} asks for the check {data.check!r}, which is not known", remedy=remedy
        )
    if not 0 <= data.tail <= TAIL_MAX:
        raise RulesError(f"a rule for {data.label} has a tail of {data.tail} bytes, at most {TAIL_MAX}", remedy=remedy)
    try:
        shape = re.compile(data.shape.encode())
    except re.error as error:
        raise RulesError(f"a rule for {data.label} has a shape that is no pattern: {error}", remedy=remedy) from None
    words = b"|".join(re.escape(word.encode()) for word in data.context)
    # A redaction mark such as `[jp.my_number]` is no context for the numbers beside it.
    context = re.compile(b"(?<!\\[jp\\.)(?:" + words + b")", re.IGNORECASE) if words else None
    return Rule(data.label, data.anchor.encode(), shape, CHECKS[data.check], data.tail, context)
