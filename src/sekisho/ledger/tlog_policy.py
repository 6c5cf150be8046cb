"""Which logs, and how many witnesses, somebody demands of a checkpoint (C2SP tlog-policy). Pure.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> <k>|any|all <member>...
    quorum <name>|none

The file is octets. Names are compared octet by octet; here they stand as text in which octets that are no UTF-8 are
surrogates (PEP 383). Groups and the quorum refer only to names on lines before theirs, and a name is a member of one
group at most, so each witness counts once. Logs sign with Ed25519 (type 01), witnesses with Ed25519 cosignatures (04).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sekisho.kernel.cosignatures import Cosignature, CosignatureVerifier, cosigned_by
from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import COSIGNATURE, ED25519, NoteVerifier, SignedNote, parse_vkey
from sekisho.ledger.errors import CheckpointInvalid, TlogPolicyInvalid, TlogPolicyUnmet

POLICY_BYTES_MAX: Final = 256 << 10  # 800 lines of 320 bytes; the draft asks for 96
LINES_OF_A_KIND_MAX: Final = 256  # logs, witnesses, groups; the draft asks for at least 32 of each
NONE: Final = "none"
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")  # tlog-policy, "Character set"
_BLANKS: Final = re.compile("[ \t]+")
_SHOWN_MAX: Final = 60  # characters of a word that an error repeats


@dataclass(frozen=True, slots=True)
class Log:
    """A log whose checkpoints are accepted; its key's name is its origin."""

    key: NoteVerifier
    url: str | None


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness; `name` has a meaning in the policy only."""

    name: str
    key: CosignatureVerifier
    url: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Witnesses a checkpoint if at least `threshold` of its members do."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fulfilment:
    """What met the policy: the logs that signed, and each witness that cosigned (by its name in the policy)."""

    logs: tuple[NoteVerifier, ...]
    cosignatures: Mapping[str, Cosignature]


@dataclass(frozen=True, slots=True)
class TlogPolicy:
    """A policy, well formed. Without logs, which logs are meant must be known from elsewhere."""

    logs: tuple[Log, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    def is_quorum(self, names: Collection[str]) -> bool:
        """Whether the witnesses of these names (in the policy) are enough."""
        met = set(names)
        for group in self.groups:  # members stand before their group
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(group.name)
        return self.quorum == NONE or self.quorum in met

    def evaluate(self, note: SignedNote) -> Fulfilment:
        """Hold a checkpoint's note against the policy.

        Raises CheckpointInvalid if a signature of a log or witness of the policy is there and does not verify
        (signed-note rejects the whole note then), else TlogPolicyUnmet if no log of the policy signed it or the
        cosignatures are no quorum.
        """
        fulfilment = self.signers(note)
        self.require_log(fulfilment)
        self.require_quorum(fulfilment)
        return fulfilment

    def signers(self, note: SignedNote) -> Fulfilment:
        """Who of the policy signed and cosigned, enough or not. Raises CheckpointInvalid as `evaluate`."""
        origin = note.text.partition("\n")[0]
        try:
            signed = note.verified_by(log.key for log in self.logs if log.key.name == origin)
            cosigned = {found.cosigner: found for found in cosigned_by(note, (w.key for w in self.witnesses))}
        except NoteError as error:
            raise CheckpointInvalid(f"the checkpoint does not verify: {error.message}") from None
        return Fulfilment(signed, {w.name: cosigned[w.key] for w in self.witnesses if w.key in cosigned})

    def require_log(self, fulfilment: Fulfilment) -> None:
        """Raises TlogPolicyUnmet unless a log of the policy, if it lists any, signed."""
        if self.logs and not fulfilment.logs:
            raise TlogPolicyUnmet("the checkpoint is not signed by a log that the policy lists", reason="log")

    def require_quorum(self, fulfilment: Fulfilment) -> None:
        """Raises TlogPolicyUnmet unless the cosignatures are a quorum."""
        if not self.is_quorum(fulfilment.cosignatures):
            raise TlogPolicyUnmet(
                f"the checkpoint is cosigned by {len(fulfilment.cosignatures)} of the policy's {len(self.witnesses)}"
                f" witnesses, which are not the quorum {shown(self.quorum)}",
                reason="quorum",
                remedy="Fetch the receipt again later: a newer checkpoint may bear more cosignatures",
            )


def parse_policy(data: bytes) -> TlogPolicy:
    """Read a policy file. Raises TlogPolicyInvalid, naming the line, for anything but a well-formed one."""
    if len(data) > POLICY_BYTES_MAX:
        raise TlogPolicyInvalid(f"the policy is larger than {POLICY_BYTES_MAX >> 10} KiB")
    parser = _Parser()
    for number, line in enumerate(data.split(b"\n"), 1):  # an end without a newline is read like one with it
        if match := _FORBIDDEN.search(line):
            what = "a carriage return" if match[0] == b"\r" else f"the control character {match[0][0]:#04x}"
            raise TlogPolicyInvalid(f"line {number} holds {what}", remedy="Lines end in a newline alone")
        words = _BLANKS.split(line.decode("utf-8", "surrogateescape").strip(" \t"))
        if words[0] and not words[0].startswith("#"):
            try:
                parser.read(words[0], words[1:])
            except (TlogPolicyInvalid, NoteError) as error:
                raise TlogPolicyInvalid(f"line {number}: {error.message}", remedy=error.remedy) from None
    return parser.finish()


def shown(name: str) -> str:
    """A name of a policy as people may see it: octets that are no UTF-8, and what does not print, are replaced."""
    text = "".join(character if character.isprintable() else "�" for character in name[: _SHOWN_MAX + 1])
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"


class _Parser:
    """The lines read so far. Errors don't name the line; the caller does."""

    def __init__(self) -> None:
        self._logs: dict[bytes, Log] = {}  # by public key: two vkeys of one key are duplicates
        self._witnesses: dict[bytes, Witness] = {}
        self._groups: list[Group] = []
        self._names: set[str] = {NONE}  # witnesses and groups share one namespace
        self._members: set[str] = set()
        self._quorum: str | None = None

    def read(self, keyword: str, words: Sequence[str]) -> None:
        readers = {"log": self._log, "witness": self._witness, "group": self._group, "quorum": self._read_quorum}
        if keyword not in readers:
            raise TlogPolicyInvalid(
                f"{shown(keyword)} is not understood", remedy="A line begins with log, witness, group, quorum or #"
            )
        readers[keyword](words)

    def finish(self) -> TlogPolicy:
        if self._quorum is None:
            raise TlogPolicyInvalid("the policy has no quorum line", remedy="Without witnesses, write: quorum none")
        return TlogPolicy(
            tuple(self._logs.values()), tuple(self._witnesses.values()), tuple(self._groups), self._quorum
        )

    def _log(self, words: Sequence[str]) -> None:
        if len(words) not in (1, 2):
            raise TlogPolicyInvalid("a log is written: log <vkey> [<url>]")
        key = NoteVerifier(*_vkey(words[0], ED25519))
        if key.public_key in self._logs:
            raise TlogPolicyInvalid("this log's key stands in the policy twice")
        _require_room(self._logs)
        self._logs[key.public_key] = Log(key, words[1] if len(words) == 2 else None)

    def _witness(self, words: Sequence[str]) -> None:
        if len(words) not in (2, 3):
            raise TlogPolicyInvalid("a witness is written: witness <name> <vkey> [<url>]")
        key = CosignatureVerifier(*_vkey(words[1], COSIGNATURE))
        if key.public_key in self._witnesses:
            raise TlogPolicyInvalid("this witness's key stands in the policy twice")
        _require_room(self._witnesses)
        self._define(words[0])
        self._witnesses[key.public_key] = Witness(words[0], key, words[2] if len(words) == 3 else None)

    def _group(self, words: Sequence[str]) -> None:
        if len(words) < 3:
            raise TlogPolicyInvalid("a group is written: group <name> <k>|any|all <member>...")
        name, count, *members = words
        threshold = _threshold(count, len(members))
        _require_room(self._groups)
        for member in members:
            if member == NONE or member not in self._names:
                raise TlogPolicyInvalid(f"no witness or group before this line is named {shown(member)}")
            if member in self._members:
                raise TlogPolicyInvalid(f"{shown(member)} is a member of a group already")
            self._members.add(member)
        self._define(name)
        self._groups.append(Group(name, threshold, tuple(members)))

    def _read_quorum(self, words: Sequence[str]) -> None:
        if len(words) != 1:
            raise TlogPolicyInvalid("a quorum is written: quorum <name>, or: quorum none")
        if self._quorum is not None:
            raise TlogPolicyInvalid("a second quorum line")
        if words[0] not in self._names:
            raise TlogPolicyInvalid(f"no witness or group before this line is named {shown(words[0])}")
        self._quorum = words[0]

    def _define(self, name: str) -> None:
        if name in self._names:
            raise TlogPolicyInvalid(f"the name {shown(name)} is taken already")
        self._names.add(name)


def _vkey(word: str, kind: int) -> tuple[str, bytes]:
    """Raises NoteError, also for octets that are no UTF-8: no signed note could bear such a name."""
    try:
        word.encode()
    except UnicodeEncodeError:
        raise NoteError("the key's name is not UTF-8") from None
    return parse_vkey(word, kind)


def _threshold(word: str, members: int) -> int:
    if word in ("any", "all"):
        return 1 if word == "any" else members
    if re.fullmatch("[1-9][0-9]{0,3}", word, re.ASCII) is None or int(word) > members:
        raise TlogPolicyInvalid(f"{shown(word)} is not any, all or a number from 1 to {members} (its members)")
    return int(word)


def _require_room(lines: Collection[object]) -> None:
    if len(lines) >= LINES_OF_A_KIND_MAX:
        raise TlogPolicyInvalid(f"more than {LINES_OF_A_KIND_MAX} lines of this kind")
