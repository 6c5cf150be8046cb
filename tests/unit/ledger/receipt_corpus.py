"""Receipts to verify: good ones, every kind of tampering, cosigned ones, and policies. For the verifiers' tests."""

import base64
import copy

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_fakes import ORGANISATION_KEY, ORIGIN

from sekisho.kernel import canonical
from sekisho.kernel.cosignatures import CosignatureSigner
from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger.checkpoint import Checkpoint, EntryProof, make_enrolment, sign_checkpoint
from sekisho.ledger.errors import ReceiptInvalid, TlogPolicyInvalid, TlogPolicyUnmet
from sekisho.ledger.interfaces import ProvenEntry
from sekisho.ledger.merkle import inclusion_proof, tree_root
from sekisho.ledger.receipts import build_receipt
from sekisho.ledger.tiles import node_source
from sekisho.verifier import verify

COSIGNED_AT = 1_790_000_100  # POSIX seconds
WITNESSES = {
    name: CosignatureSigner(f"{name}.example/witness", Ed25519PrivateKey.from_private_bytes(name.encode() * 32))
    for name in "abcd"
}


def receipt_of(world, entries, *, request, origin=ORIGIN):
    """A receipt over a log that holds just these entries."""
    node, size = node_source(entries), len(entries)
    note = sign_checkpoint(Checkpoint(origin, size, tree_root(size, node)), world.log_key)
    proven = [
        ProvenEntry(entry, index, EntryProof(index, tuple(inclusion_proof(index, size, node)), note).text)
        for index, entry in enumerate(entries)
    ]
    enrolment = make_enrolment(world.site_key, ORIGIN, world.log_key.verifier)
    return build_receipt(request, world.site_key.verifier, enrolment, proven, ORGANISATION_KEY)


def recorded(world, **options):
    writer = world.writer()
    request = world.request(writer, **options)
    return request, list(writer.entries)


def altered(entry, change):
    envelope = canonical.decode(entry)
    change(envelope)
    return canonical.encode(envelope)


def fresh(envelope, **changes):
    """Another id, and no commitment that would hang on the old one."""
    envelope["id"] = envelope["id"][:-1] + ("1" if envelope["id"][-1] == "0" else "0")
    envelope["body"].update(received=None, sent=None, answer=None)
    envelope.update(changes)


def alone(entry):
    """The outcome as it would be if no attempt had followed."""
    return altered(entry, lambda envelope: envelope["body"].pop("next"))


ENTRY_CHANGES = {
    "a gap in the attempts": (lambda e: e[2:], "attempt 1 is missing"),
    "the last attempt cut off": (lambda e: e[:2], "attempt 2, which followed, is missing"),
    "another attempt named as next": (
        lambda e: [e[0], altered(e[1], lambda x: x["body"].update(next=x["body"]["decision"])), *e[2:]],
        "attempt 2, which followed",
    ),
    "next of another type": (
        lambda e: [e[0], altered(e[1], lambda x: x["body"].update(next=[])), *e[2:]],
        "attempt 2, which followed",
    ),
    "next of the last": (
        lambda e: [*e[:3], altered(e[3], lambda x: x["body"].update(next=None))],
        "attempt 3, which followed",
    ),
    "no outcome": (lambda e: e[:3], "attempt 2 has no outcome"),
    "no decision": (lambda e: [alone(e[1])], "no decision before it"),
    "two outcomes": (lambda e: [*e, altered(e[3], fresh)], "two"),
    "an entry twice": (lambda e: [*e, e[3]], "twice"),
    "another request": (
        lambda e: [*e[:3], altered(e[3], lambda x: x.update(request=x["id"]))],
        "another request",
    ),
    "another site": (lambda e: [*e[:3], altered(e[3], lambda x: x.update(site="osaka"))], "different sites"),
    "another kind": (lambda e: [*e, altered(e[0], lambda x: fresh(x, kind="meter"))], "'meter'"),
    "outcome of a denial": (lambda e: [altered(e[0], lambda x: x["body"].update(chosen=None)), alone(e[1])], "denial"),
    "decided after a denial": (lambda e: [altered(e[0], lambda x: x["body"].update(chosen=None)), e[2]], "denial"),
    "chosen left out": (lambda e: [altered(e[0], lambda x: x["body"].pop("chosen")), e[1]], "what was chosen"),
    "attempt of another type": (lambda e: [altered(e[0], lambda x: x["body"].update(attempt=True)), e[1]], "which"),
    "nothing received": (lambda e: [altered(e[0], lambda x: x["body"].pop("received")), alone(e[1])], "received"),
    "no commitment": (lambda e: [altered(e[0], lambda x: x["body"].update(sent={})), alone(e[1])], "not a commitment"),
}


def swap_entries(value):
    value["entries"].reverse()


def salt_with_spare_bits(value):
    text = next(iter(value["entries"][0]["salts"].values()))
    spare = text[:-2] + chr(ord(text[-2]) + 1) + "="
    assert base64.b64decode(spare) == base64.b64decode(text)
    value["entries"][0]["salts"]["received"] = spare


FILE_CHANGES = {
    "unknown field": lambda v: v.update(note="x"),
    "unknown field of an entry": lambda v: v["entries"][0].update(note="x"),
    "unknown field of an envelope": lambda v: v["entries"][0]["entry"].update(note="x"),
    "missing field": lambda v: v.pop("site_key"),
    "format": lambda v: v.update(format="sekisho.receipt/2"),
    "no entries": lambda v: v.update(entries=[]),
    "order": swap_entries,
    "request": lambda v: v.update(request="0198c2a0-0000-7000-8000-000000000000"),
    "salt missing": lambda v: v["entries"][0]["salts"].pop("received"),
    "salt too many": lambda v: v["entries"][0]["salts"].update(more=base64.b64encode(bytes(32)).decode()),
    "salt spelled otherwise": salt_with_spare_bits,
    "wrong salt": lambda v: v["entries"][0]["salts"].update(received=base64.b64encode(bytes(32)).decode()),
    "extra line in a proof": lambda v: v["entries"][0].update(
        proof=v["entries"][0]["proof"].replace("@v1\n", "@v1\nextra AAAA\n")
    ),
    "types": lambda v: v.update(entries={}),
    "types deeper": lambda v: v["entries"][0].update(salts=[]),
    "enrolment": lambda v: v.update(enrolment=v["entries"][0]["proof"].partition("\n\n")[2]),
}


def changed(data, change):
    """The receipt file after a change of its value, in canonical form again."""
    value = copy.deepcopy(canonical.decode(data))
    change(value)
    return canonical.encode(value)


def with_note(data, change):
    """The receipt with its checkpoint's note changed, in every proof alike."""

    def change_proofs(value):
        for item in value["entries"]:
            head, _, note = item["proof"].partition("\n\n")
            item["proof"] = f"{head}\n\n{change(note)}"

    return changed(data, change_proofs)


def cosigned(data, *names, time=COSIGNED_AT):
    """The receipt with cosignatures of the witnesses of these names."""

    def add(note):
        text = note.rpartition("\n\n")[0] + "\n"
        return note + "".join(WITNESSES[name].cosign(text, time) for name in names)

    return with_note(data, add)


def strays(data, name):
    """The receipt with a cosignature of this witness over another checkpoint."""
    return with_note(data, lambda note: note + WITNESSES[name].cosign(f"{ORIGIN}\n9\n{'A' * 43}=\n", COSIGNED_AT))


def policy(*logs, quorum, names="abcd"):
    """A policy file: logs, the witnesses, a group of two of a, b and c, and a group of that and d."""
    lines = [f"log {log.vkey}" for log in logs]
    lines += [f"witness {name} {WITNESSES[name].verifier.vkey}" for name in names]
    if names == "abcd":
        lines += ["group abc 2 a b c", "group every all abc d"]
    return "".join(f"{line}\n" for line in [*lines, f"quorum {quorum}"]).encode()


def policy_cases(data, world):
    """(receipt, policy) pairs: met, unmet and malformed."""
    log = world.log_key.verifier
    other = NoteVerifier(log.name, world.site_key.verifier.public_key)  # of the same origin, another key
    elsewhere = NoteVerifier("elsewhere.example", log.public_key)
    for names in ("", "a", "ab", "abc", "bcd", "ad"):
        for quorum in ("none", "a", "abc", "every"):
            yield cosigned(data, *names), policy(log, quorum=quorum)
    for logs in ((), (other,), (elsewhere,), (other, log), (log, other)):
        if len(logs) < 2 or log in logs:
            yield cosigned(data, "a"), policy(*logs, quorum="a")
    yield strays(data, "a"), policy(log, quorum="none")
    yield strays(cosigned(data, "a"), "b"), policy(log, quorum="a")
    yield strays(cosigned(data, "a"), "a"), policy(log, quorum="a")  # one that holds, and one that does not
    both = with_note(data, lambda note: note + world.site_key.sign(note.rpartition("\n\n")[0] + "\n").split("\n\n")[-1])
    yield both, policy(world.site_key.verifier, quorum="none")  # a log of the policy signed, and it is not its origin
    yield both, policy(world.site_key.verifier, log, quorum="none")
    yield strays(cosigned(data, "a"), "d"), policy(log, quorum="a", names="ab")  # d is nobody that we know
    yield cosigned(cosigned(data, "a"), "a", time=COSIGNED_AT + 1), policy(log, quorum="a")
    for cut in (0, 1, 72, 75):  # a signature line that is too short or too long
        blob = base64.b64encode(WITNESSES["a"].verifier.key_id + bytes(cut)).decode()
        line = f"— {WITNESSES['a'].verifier.name} {blob}\n"
        yield with_note(data, lambda note, line=line: note + line), policy(log, quorum="none")
    good = policy(log, quorum="a")
    for malformed in (
        b"", b"\n", b"quorum", b"quorum z\n", b"quorum none\r\n", b"quorum none\x7f", b"quorums none", good + good,
        good.replace(b"witness a", b"witness none"), good.replace(b"group abc 2", b"group abc 4"),
        good.replace(b"group abc 2", b"group abc 02"), good.replace(b"abc d", b"abc a"), good.replace(b"+B", b"+A"),
        good.replace(b"quorum a", b"quorum \xe9"), b"log " + b"\xe9" + log.vkey.encode() + b"\nquorum none",
        good.replace(b"abc 2 a ", b"abc 2 none "), b"witness a " + other.vkey.encode() + b"\nquorum a",
        b"#" * (256 * 1024 + 1),
    ):  # fmt: skip
        yield cosigned(data, "a"), malformed
    spaced = good.replace(b"witness a ", b"\t witness\ta  ").replace(b"quorum", b"# \xff\n\n  quorum") + b" \t"
    yield cosigned(data, "a"), spaced
    named = good.replace(b"witness a ", b"witness \xe9 ").replace(b"abc 2 a ", b"abc 2 \xe9 ")
    yield cosigned(data, "a"), named.replace(b"quorum a\n", b"quorum \xe9")  # a name that is no UTF-8; no last newline


def verdict_of(data, keys=(), policy=None, content=None):
    """What the product's verifier says: its verdict and reason code."""
    try:
        return verify(data, site_keys=keys, policy=policy, content=content).verdict, ""
    except ReceiptInvalid as error:
        return "invalid", error.reason
    except TlogPolicyUnmet as error:
        return "unmet", error.reason
    except TlogPolicyInvalid:
        return "unusable", "policy"
    except NoteError:
        return "unusable", "keys"


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


ODD_BODIES = {  # of the first decision, which is in the log like this
    "a prototype in place of a choice": lambda b: b.update(chosen={"__proto__": b["chosen"]}),
    "a prototype beside": lambda b: b.update({"__proto__": {"attempt": 2}, "constructor": 1, "toString": None}),
    "an attempt in the prototype": lambda b: b.update({"__proto__": {"attempt": b.pop("attempt")}}),
    "candidates of all sorts": lambda b: b["candidates"].extend([None, 1, "x", [], {"action": "sendRaw"}]),
    "deployments as a text": lambda b: b["candidates"][1].update(deployments="domestic"),
    "the chosen twice": lambda b: b["candidates"].append(b["candidates"][1]),
    "permitted as a number": lambda b: b["candidates"][1].update(permitted=1),
    "monitored as a number": lambda b: b.update(monitored=0),
    "monitored and permitted": lambda b: b.update(monitored=True),
    "an empty choice": lambda b: b["chosen"].update(deployment=""),
    "an attempt beyond all": lambda b: b.update(attempt=2**53 - 1),
    "a text as an attempt": lambda b: b.update(attempt="1"),
    "bytes as a boolean": lambda b: b["received"].update(bytes=True),
    "a digest in capitals": lambda b: b["received"].update(sha256=b["received"]["sha256"].upper()),
    "a digest with a newline": lambda b: b["received"].update(sha256=b["received"]["sha256"][:63] + "\n"),
    "another commitment": lambda b: b.update(more=dict(b["received"])),
    "letters of all sorts": lambda b: b.update(note='\u2028\u2029\x7f\x00\x1f"\\/\U0001f600\ufeff銀行'),
    "as deep as may be": lambda b: b.update(note=nested(60)),
    "deeper": lambda b: b.update(note=nested(61)),
    "deepest": lambda b: b.update(note=nested(62)),
}


def odd_files(data):
    """Other bytes for a receipt, most of them JSON that readers understand differently."""
    numbers = (b"1.0", b"-0", b"1e0", b"01", b"true", b"null", b"9007199254740993", b"-1", b"9" * 5_000, b"1E400")
    yield from (data.replace(b'"v":1', b'"v":' + number, 1) for number in numbers)
    yield data.replace(b'"seq":0', b'"seq":9007199254740992', 1)
    yield data.replace(b'{"enrolment"', b'{"enrolment":"x","enrolment"', 1)
    yield data.replace(b'"tokyo"', b'"\\u0074okyo"', 1)
    yield b"\xef\xbb\xbf" + data
    yield data.replace(b'"format"', b'"\\ud800":1,"format"', 1)
    yield data.replace(b'"format"', b'"\xed\xa0\x80":1,"format"', 1)
    yield data + b"\0"
    yield b"[" * 100_000
    yield b"[" + b"[]," * 600_000 + b"[]]"
    yield b"[" + b"[]," * (1 << 20) + b"[]]"
    yield b'{"a":' * 50_000


def malleable(blob):
    """Other Ed25519 signatures that lax verifiers take for one (RFC 8032 section 5.1.7): S + n·L, and R of y + p."""
    key_id, first, second = blob[:4], blob[4:36], int.from_bytes(blob[36:], "little")
    order = 2**252 + 27742317777372353535851937790883648493
    for multiple in (1, 2, 8):
        yield key_id + first + (second + multiple * order).to_bytes(32, "little")
    yield key_id + (1 + 2**255 - 19).to_bytes(32, "little") + bytes(32)
    yield blob + b"\0"
    yield blob[:-1]


def odd_notes(note):
    """Other spellings of a checkpoint's note."""
    text, _, block = note.partition("\n\n")
    origin, size, root = text.split("\n")
    name, blob = block.removeprefix("— ").rstrip("\n").split(" ")
    spare = root[:-2] + chr(ord(root[-2]) + 1) + "="
    for odd in (f"0{size}", f"+{size}", "٤", f"{size} ", str(2**63 - 1), str(2**63), "1" * 20, ""):
        yield f"{origin}\n{odd}\n{root}\n\n{block}"
    for odd in (spare, root.rstrip("="), root.replace("+", "-").replace("/", "_") + "\r", f"{root}\nmore", ""):
        yield f"{origin}\n{size}\n{odd}\n\n{block}"
    yield note.replace("\n", "\r\n")
    yield note[:-1]
    yield f"{note}\n"
    yield note + block
    yield note + block * 62
    yield note + block * 64
    yield f"{note}— {name} {blob[:-4]}\n"
    for stranger in ("x", "銀行.example", "a+b", "a\u00a0b", "a\u0085b", "a\u180eb", "a\ufeffb", "a\u200bb", "a\u3000b",
                     "a\x7fb", "a\tb", ""):  # fmt: skip
        yield f"{note}— {stranger} {blob}\n"
    for forged in malleable(base64.b64decode(blob)):
        yield f"{text}\n\n— {name} {base64.b64encode(forged).decode()}\n"
    yield f"{note}— {name} AAAAAAA=\n"  # of the name, and another key
    yield f"{note}— {name}  {blob}\n"
    yield f"{note}- {name} {blob}\n"
    yield f"{note}— x AAAAAA==\n"  # no signature behind the key id
    yield f"{note}— x AAAAAA\n"


def odd_policies(log):
    """Policies whose spelling readers may take differently; of a receipt that a and b cosigned."""
    good = policy(log, quorum="every").decode()
    for count in ("1", "2", "3", "4", "0", "+1", "01", "１", "any", "all", "ANY", "1.0", "99999"):
        yield good.replace("group abc 2", f"group abc {count}").replace("quorum every", "quorum abc").encode()
    deep = [f"group g{n} 1 {'abc' if n == 0 else f'g{n - 1}'}" for n in range(200)]
    yield good.replace("quorum every", "\n".join([*deep, "quorum g199"])).encode()
    yield good.replace("quorum every", "\n".join(f"group x{n} 1 d" for n in range(2)) + "\nquorum x1").encode()
    for odd in ("\ufeff", "\u00a0", "\x0b", "\x00", "# é\r\n", "#\n", "quorum none\n", "witness\n", "log\n", "group\n"):
        yield (odd + good).encode()
    for space in ("\t", " \t ", "\u00a0", "\u3000", "\x0c"):
        yield good.replace("quorum ", f"quorum{space}").encode()
    yield good.replace(log.vkey, log.vkey.replace(log.key_id.hex(), log.key_id.hex().upper())).encode()
    yield good.replace(log.vkey, log.vkey.rstrip("=")).encode()
    yield good.replace(log.vkey, f"{log.vkey} https://a.example/ more").encode()
    other = base64.b64encode(b"\x06" + bytes(1312)).decode()
    yield f"{good}witness pq pq.example+00000000+{other}\n".encode()
    yield f"log x+00000000+{base64.b64encode(bytes([7]) + bytes(32)).decode()}\n{good}".encode()
    yield (good + "#" * (256 * 1024 - len(good.encode()))).encode()


UNICODE_WITNESS = CosignatureSigner("証人.example/東京", Ed25519PrivateKey.from_private_bytes(b"u" * 32))


def timed_cases(data, log):
    """(receipt, policy) pairs: cosignatures of all times, and a witness of another script."""
    demanded = policy(log, quorum="a")
    for time in (0, 1, 2**31, 2**53 + 1, 2**62, 2**63 - 1):
        yield cosigned(data, "a", time=time), demanded
    signature = WITNESSES["a"].verifier.key_id + (2**63).to_bytes(8, "big") + bytes(64)
    line = f"— {WITNESSES['a'].verifier.name} {base64.b64encode(signature).decode()}\n"
    yield with_note(data, lambda note: note + line), demanded

    def add(note):
        return note + UNICODE_WITNESS.cosign(note.rpartition("\n\n")[0] + "\n", COSIGNED_AT)

    for name in ("証人", "w"):
        text = f"log {log.vkey}\nwitness {name} {UNICODE_WITNESS.verifier.vkey}\nquorum {name}\n"
        yield with_note(data, add), text.encode()
        yield data, text.encode()
