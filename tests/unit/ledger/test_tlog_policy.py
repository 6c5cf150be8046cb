"""C2SP tlog-policy: the file, and what it demands of a checkpoint."""

import contextlib
import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.cosignatures import CosignatureSigner
from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import NoteSigner, NoteVerifier, SignedNote
from sekisho.ledger.errors import CheckpointInvalid, TlogPolicyInvalid, TlogPolicyUnmet
from sekisho.ledger.tlog_policy import LINES_OF_A_KIND_MAX, POLICY_BYTES_MAX, parse_policy

TEXT = "example.internal/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
TIME = 1_790_000_000


def private(number):
    return Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))


LOG = NoteSigner("example.internal/log", private(1))
OTHER_LOG = NoteSigner("other.internal/log", private(2))
WITNESSES = {name: CosignatureSigner(f"w.example/{name}", private(10 + i)) for i, name in enumerate("abcdef")}
A, B, C = (WITNESSES[name].verifier.vkey for name in "abc")
KEYS = "".join(f"witness {name} {signer.verifier.vkey}\n" for name, signer in WITNESSES.items())
EXAMPLE = f"""# two of one operator's, and one of another's
log {LOG.verifier.vkey} https://log.example/

\t# indented
{KEYS}
group first  2\ta b c
group second any d e f
group both all first second
quorum both
"""


def note(*names):
    return SignedNote.parse(LOG.sign(TEXT) + "".join(WITNESSES[name].cosign(TEXT, TIME) for name in names))


def test_the_example_of_the_draft_reads_as_it_says():
    policy = parse_policy(EXAMPLE.encode())
    assert [(log.key, log.url) for log in policy.logs] == [(LOG.verifier, "https://log.example/")]
    assert {w.name: w.key for w in policy.witnesses} == {n: s.verifier for n, s in WITNESSES.items()}
    assert [(g.name, g.threshold, g.members) for g in policy.groups] == [
        ("first", 2, ("a", "b", "c")), ("second", 1, ("d", "e", "f")), ("both", 2, ("first", "second")),
    ]  # fmt: skip


def test_every_set_of_witnesses_is_judged_as_counting_by_hand_does():
    policy = parse_policy(EXAMPLE.encode())
    met = 0
    for names in itertools.chain.from_iterable(itertools.combinations("abcdef", n) for n in range(7)):
        expected = len({*names} & {*"abc"}) >= 2 and bool({*names} & {*"def"})
        assert policy.is_quorum(names) == expected, names
        if not expected:
            with pytest.raises(TlogPolicyUnmet, match=f"by {len(names)} of the policy's 6"):
                policy.evaluate(note(*names))
            continue
        fulfilment = policy.evaluate(note(*names))
        assert {n: c.time for n, c in fulfilment.cosignatures.items()} == dict.fromkeys(names, TIME)
        met += 1
    assert met == 4 * 7


@st.composite
def policies(draw):
    """Lines of witnesses and groups of them, in an order that the draft allows, and a quorum."""
    lines, free, names, members = [], [], [], {}
    for signer_name in WITNESSES:
        lines.append(f"witness {signer_name} {WITNESSES[signer_name].verifier.vkey}")
        free.append(signer_name)
        names.append(signer_name)
    for number in range(draw(st.integers(0, 4))):
        chosen = draw(st.lists(st.sampled_from(free), min_size=1, unique=True)) if free else []
        if not chosen:
            break
        threshold = draw(st.integers(1, len(chosen)))
        lines.append(f"group g{number} {threshold} {' '.join(chosen)}")
        free = [name for name in free if name not in chosen] + [f"g{number}"]
        names.append(f"g{number}")
        members[f"g{number}"] = (threshold, chosen)
    quorum = draw(st.sampled_from([*names, "none"]))
    return "\n".join([*lines, f"quorum {quorum}"]), members, quorum


@given(policies(), st.sets(st.sampled_from(sorted(WITNESSES))))
def test_a_quorum_is_what_the_definition_says_and_more_witnesses_never_undo_it(drawn, cosigned):
    text, members, quorum = drawn

    def witnesses(name):  # the definition, top down
        if name not in members:
            return name in cosigned
        threshold, inside = members[name]
        return sum(map(witnesses, inside)) >= threshold

    policy = parse_policy(text.encode())
    assert policy.is_quorum(cosigned) == (quorum == "none" or witnesses(quorum))
    if policy.is_quorum(cosigned):
        assert all(policy.is_quorum({*cosigned, name}) for name in WITNESSES)


def test_a_log_that_the_policy_does_not_list_is_not_enough():
    listed = parse_policy(f"log {OTHER_LOG.verifier.vkey}\nquorum none\n".encode())
    with pytest.raises(TlogPolicyUnmet, match="not signed by a log"):
        listed.evaluate(note())
    # Another log's valid signature under our origin does not make the checkpoint that log's.
    both = SignedNote.parse(LOG.sign(TEXT) + OTHER_LOG.sign(TEXT).rpartition("\n\n")[2])
    with pytest.raises(TlogPolicyUnmet, match="not signed by a log"):
        listed.evaluate(both)
    either = parse_policy(f"log {OTHER_LOG.verifier.vkey}\nlog {LOG.verifier.vkey}\nquorum none".encode())
    assert either.evaluate(note()).logs == (LOG.verifier,)
    assert parse_policy(b"quorum none").evaluate(note()).logs == ()


def test_a_signature_of_a_known_key_that_fails_rejects_the_checkpoint_even_with_a_quorum():
    policy = parse_policy(f"log {LOG.verifier.vkey}\n{KEYS}group g any a b\nquorum g\n".encode())
    stray = WITNESSES["b"].cosign(TEXT.replace("\n7\n", "\n8\n"), TIME)
    good = LOG.sign(TEXT) + WITNESSES["a"].cosign(TEXT, TIME)
    policy.evaluate(SignedNote.parse(good))
    with pytest.raises(CheckpointInvalid, match=r"w\.example/b does not verify"):
        policy.evaluate(SignedNote.parse(good + stray))
    forged = good.replace("\n7\n", "\n8\n")
    with pytest.raises(CheckpointInvalid, match=r"example\.internal/log does not verify"):
        policy.evaluate(SignedNote.parse(forged))


@given(st.data())
def test_no_changed_byte_of_a_cosigned_checkpoint_meets_the_policy(data):
    policy = parse_policy(f"log {LOG.verifier.vkey}\nwitness a {A}\nquorum a\n".encode())
    good = (LOG.sign(TEXT) + WITNESSES["a"].cosign(TEXT, TIME)).encode()
    position = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != good[position]))
    changed = good[:position] + bytes([byte]) + good[position + 1 :]
    with pytest.raises((CheckpointInvalid, TlogPolicyUnmet, UnicodeDecodeError, NoteError)):
        policy.evaluate(SignedNote.parse(changed.decode()))


def test_names_are_octets():
    kelvin, latin = "\u212a", b"\xe9"
    text = f"witness K {A}\nwitness {kelvin} {B}\n".encode() + b"witness " + latin + f" {C}\nquorum ".encode()
    assert parse_policy(text + latin).is_quorum([latin.decode("utf-8", "surrogateescape")])
    assert not parse_policy(text + b"K").is_quorum([kelvin])
    with pytest.raises(TlogPolicyInvalid, match=r"line 4: .*named �"):
        parse_policy(text + b"\xe8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no quorum line"),
        ("# nothing\n\n", "no quorum line"),
        ("quorum", "line 1: a quorum is written"),
        ("quorum a b", "line 1: a quorum is written"),
        ("quorum none\nquorum none", "line 2: a second quorum"),
        ("quorum a", "line 1: no witness or group before this line is named a"),
        (f"quorum a\nwitness a {A}", "line 1: no witness"),
        ("Quorum none", "line 1: Quorum is not understood"),
        ("policy x", "line 1: policy is not understood"),
        ("log", "line 1: a log is written"),
        ("log a b c", "line 1: a log is written"),
        ("log x", "line 1: not a vkey"),
        (f"log {A}", r"line 1: .*not an Ed25519 key \(type 01\), but an Ed25519 cosigner's key"),
        (f"log {LOG.verifier.vkey}\nlog {NoteVerifier('z', LOG.verifier.public_key).vkey}", "line 2: .*twice"),
        (f"witness {A}", "line 1: a witness is written"),
        (f"witness a {A} url more", "line 1: a witness is written"),
        (f"witness a {LOG.verifier.vkey}", "line 1: .*type 04"),
        (f"witness a {A}\nwitness b {A}", "line 2: .*twice"),
        (f"witness a {A}\n\n witness a {B}", "line 3: the name a is taken"),
        (f"witness none {A}", "line 1: the name none is taken"),
        (f"witness a {A[:-4]}AAA=", "line 1: .*31 bytes"),
        (f"witness a x{A}", "line 1: .*key id"),
        (f"witness a {A}\ngroup a any a", "line 2: the name a is taken"),
        (f"witness a {A}\ngroup none any a", "line 2: the name none is taken"),
        ("group g any", "line 1: a group is written"),
        ("group g any g", "line 1: no witness or group before this line is named g"),
        (f"witness a {A}\ngroup g any none a", "line 2: no witness or group before this line is named none"),
        (f"witness a {A}\ngroup g any a a", "line 2: a is a member of a group already"),
        (f"witness a {A}\ngroup g any a\ngroup h any a", "line 3: a is a member of a group already"),
        *((f"witness a {A}\ngroup g {k} a", "line 2: .* is not any, all or a number from 1 to 1")
          for k in ("0", "2", "01", "-1", "+1", "1.0", "ANY", "１", "99999999999999999999")),
        (f"witness\u3000a {A}\nquorum a", "line 1: witness.a is not understood"),
        ("quorum none\r\n", "line 1 holds a carriage return"),
        ("quorum\x0bnone", "line 1 holds the control character 0x0b"),
        ("quorum none\n#\x7f", "line 2 holds the control character 0x7f"),
        ("#" * POLICY_BYTES_MAX + "\n", "larger than 256 KiB"),
    ],
)  # fmt: skip
def test_a_malformed_policy_is_refused_with_its_line(text, words):
    with pytest.raises(TlogPolicyInvalid, match=words):
        parse_policy(text.encode())


def test_lines_of_a_kind_are_bounded():
    groups = "".join(f"group g{n + 1} any g{n}\n" for n in range(LINES_OF_A_KIND_MAX))
    head = f"witness a {A}\ngroup g0 any a\n"
    parse_policy((head + groups[: groups.index(f"group g{LINES_OF_A_KIND_MAX} ")] + "quorum none").encode())
    with pytest.raises(TlogPolicyInvalid, match=f"line {LINES_OF_A_KIND_MAX + 2}: more than {LINES_OF_A_KIND_MAX}"):
        parse_policy((head + groups + "quorum none").encode())


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused_with_an_error_for_people(data):
    with contextlib.suppress(TlogPolicyInvalid):
        parse_policy(data)
