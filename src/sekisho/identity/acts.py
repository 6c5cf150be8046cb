"""Acts that approval can be demanded for: their canonical bytes, and the words people read before they sign. Pure.

An act is canonical JSON (RFC 8785): `{act, asked_at, asked_by, id, origin, parameters, valid_until}`. Its id makes it
one act: an approval counts once. The words are made from exactly the bytes that are signed, and say everything that is
in them: what a person sees is what a person signs. So that nothing can look like something else, every text in an act
is plain ASCII out of a closed alphabet, and an act or a parameter that this program has no words for is refused.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from sekisho.identity.errors import ApprovalMalformed
from sekisho.identity.interfaces import STOP_KINDS
from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError
from sekisho.kernel.ids import UUID7, is_uuid7

ENGLISH: Final = "en"
JAPANESE: Final = "ja"
CLOCK_SETTLE: Final = "clock.settle"
CONTENT_FORGET: Final = "content.forget"
KEYS_FORGET: Final = "keys.forget"
PERSON_ENROL: Final = "person.enrol"
STOP_LIFT: Final = "stop.lift"

EVERYTHING: Final = "everything"  # in the place of an entry's id
NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
KEY: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)  # an Ed25519 public key
_DECLARED: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)  # what names a declaration
_ORIGIN: Final = re.compile(r"[a-z0-9.-]{1,200}(?:/[a-z0-9._-]{1,64}){0,4}", re.ASCII)
_FIELDS: Final = frozenset({"act", "asked_at", "asked_by", "id", "origin", "parameters", "valid_until"})
_TIME_MAX: Final = 253_402_300_800_000_000  # µs; the year 10000, which no calendar of ours can write
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ActKind(NamedTuple):
    """`parameters`: name → what it must match. The words name every parameter, in either language."""

    parameters: Mapping[str, re.Pattern[str]]
    english: str
    japanese: str


KINDS: Final[Mapping[str, ActKind]] = {
    CLOCK_SETTLE: ActKind(
        {"ahead_s": re.compile(r"-?[1-9][0-9]{0,9}", re.ASCII)},
        "Believe the wall clock of this installation as it stands: it shows {ahead_s} seconds more than elapsed time "
        "vouches for. Times of entries, and the ends of facts, approvals and content, follow it.",
        "この設備の時計を、現在の値のまま正しいものとします。時計は、経過時間から求めた時刻より {ahead_s} 秒進んで"
        "います。以後、記録の時刻と、事実・承認・保存内容の期限はこの時計に従います。",
    ),
    CONTENT_FORGET: ActKind(
        {"entry": re.compile(f"{UUID7.pattern}|{EVERYTHING}", re.ASCII), "organisation": _DECLARED},
        "Delete, for good, what is kept of requests of {organisation}: {entry}.",
        "{organisation} のリクエストについて保存した内容を、元に戻せない形で削除します。対象: {entry}",
    ),
    KEYS_FORGET: ActKind(
        {"organisation": _DECLARED},
        "Destroy, for good, the commitment key of {organisation}: nothing can link its entries to their content again.",
        "{organisation} のコミットメント鍵を、元に戻せない形で破棄します。以後、エントリーを内容に結び付けられません。",
    ),
    PERSON_ENROL: ActKind(
        {"key": KEY, "person": NAME},
        "Enrol the key {key} as the key of the person {person}: what it signs counts as theirs.",
        "鍵 {key} を、{person} さんの鍵として登録します。以後、この鍵の署名は本人の署名と見なされます。",
    ),
    STOP_LIFT: ActKind(
        {"kind": re.compile("|".join(STOP_KINDS)), "name": _DECLARED},
        "Lift the emergency stop of the {kind} {name}: requests may be sent again.",
        "{kind} {name} の緊急停止を解除します。リクエストの送信が再び可能になります。",
    ),
}
_JAPANESE_WORDS: Final = {"deployment": "デプロイメント", "organisation": "組織", "provider": "事業者"}


@dataclass(frozen=True, slots=True)
class Act:
    """Times are µs UTC; `valid_until` is exclusive. `origin` is the installation's, as in its log."""

    act: str
    parameters: Mapping[str, str]
    asked_by: str
    asked_at: int
    valid_until: int
    origin: str
    id: str

    def encode(self) -> bytes:
        """The canonical bytes: what is signed."""
        return canonical.encode(self.as_object())

    def as_object(self) -> dict[str, Any]:
        return {
            "act": self.act,
            "asked_at": self.asked_at,
            "asked_by": self.asked_by,
            "id": self.id,
            "origin": self.origin,
            "parameters": dict(self.parameters),
            "valid_until": self.valid_until,
        }


def read_act(value: object) -> Act:
    """An act from its JSON object. Raises ApprovalMalformed for anything that could not be shown word by word."""
    if not isinstance(value, dict) or value.keys() != _FIELDS:
        raise ApprovalMalformed("the act lacks a field or has one too many")
    name, parameters = value["act"], value["parameters"]
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ApprovalMalformed(
            "the act is none that this program has words for",
            remedy="Nobody should sign what can't be shown; use a version of Sekisho that knows the act",
        )
    require_parameters(name, parameters)
    if not isinstance(value["id"], str) or not is_uuid7(value["id"]):
        raise ApprovalMalformed("the act's id is not a UUIDv7")
    if not _matches(NAME, value["asked_by"]) or not _matches(_ORIGIN, value["origin"]):
        raise ApprovalMalformed("the act does not say who asked, or in which installation")
    for time in (value["asked_at"], value["valid_until"]):
        if type(time) is not int or not 0 <= time < _TIME_MAX:
            raise ApprovalMalformed("the act holds a time that is none")
    if value["asked_at"] >= value["valid_until"]:
        raise ApprovalMalformed("the act would end before it was asked for")
    return Act(**value)


def require_parameters(act: str, parameters: object) -> None:
    """Raises ApprovalMalformed unless these are the parameters of the act, each as it must be."""
    kind = KINDS.get(act)
    if kind is None:
        raise ApprovalMalformed(f"there is no act {act!r}", remedy=f"There are {', '.join(sorted(KINDS))}")
    if not isinstance(parameters, Mapping) or parameters.keys() != kind.parameters.keys():
        raise ApprovalMalformed(f"{act} needs exactly {' and '.join(sorted(kind.parameters))}")
    for name, pattern in kind.parameters.items():
        if not _matches(pattern, parameters[name]):
            raise ApprovalMalformed(f"the {name} of {act} is not one")


def told(act: str, parameters: Mapping[str, str], approval: dict[str, Any] | None) -> bytes:
    """What the ledger is told of an act that was done (canonical JSON); `approval` only where one was demanded."""
    body: dict[str, Any] = {"act": act, **parameters}
    return canonical.encode(body if approval is None else {**body, "approval": approval})


def parameters_told(body: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that an act's entry tells, as they stand in the act itself. Raises ApprovalMalformed."""
    act = body.get("act")
    if not isinstance(act, str) or act not in KINDS:
        raise ApprovalMalformed("the entry's act is none that this program has words for")
    parameters = {name: body.get(name) for name in KINDS[act].parameters}
    if act == CONTENT_FORGET and "entry" in body and body["entry"] is None:
        parameters["entry"] = EVERYTHING
    require_parameters(act, parameters)
    return {name: str(text) for name, text in parameters.items()}


def describe_act(data: bytes, language: str = ENGLISH) -> str:
    """What the canonical bytes of an act say, in several lines, all of it. Raises ApprovalMalformed."""
    try:
        act = read_act(canonical.decode(data))
    except CanonicalError as error:
        raise ApprovalMalformed(f"the act is not canonical JSON: {error.message}") from None
    kind = KINDS[act.act]
    digest = hashlib.sha256(data).hexdigest()
    if language == JAPANESE:
        shown = {name: _JAPANESE_WORDS.get(text, text) for name, text in act.parameters.items() if name == "kind"}
        lines = [
            kind.japanese.format(**{**act.parameters, **shown}),
            f"  行為:     {act.act}",
            f"  設備:     {act.origin}",
            f"  申請者:   {act.asked_by}（{_time(act.asked_at)}）",
            f"  有効期限: {_time(act.valid_until)}",
            f"  番号:     {act.id}",
            f"  SHA-256:  {digest}",
        ]
    else:
        lines = [
            kind.english.format(**act.parameters),
            f"  act:          {act.act}",
            f"  installation: {act.origin}",
            f"  asked by:     {act.asked_by}, {_time(act.asked_at)}",
            f"  valid until:  {_time(act.valid_until)}",
            f"  id:           {act.id}",
            f"  SHA-256:      {digest}",
        ]
    return "\n".join(lines)


def _matches(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


def _time(at_us: int) -> str:
    """To the microsecond, where there are any: two acts that differ must not read alike."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat().replace("+00:00", "Z")
