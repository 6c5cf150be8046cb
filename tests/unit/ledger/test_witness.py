"""What a witness reads and how it judges: only what its log signed and what extends the last tree passes."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from witness_fakes import LOG_ORIGIN, SmallLog, key, named

from sekisho.kernel.errors import SekishoError
from sekisho.kernel.notes import NoteSigner, NoteVerifier
from sekisho.ledger.errors import (
    OriginUnknown,
    ProofRefused,
    RequestMalformed,
    SignatureRefused,
    SizeConflict,
    WitnessRefused,
)
from sekisho.ledger.merkle import EMPTY_ROOT
from sekisho.ledger.witness import (
    NOTHING,
    REQUEST_BYTES_MAX,
    AddCheckpoint,
    Head,
    is_split,
    verify_extends,
    verify_origin,
)

LOG = SmallLog()


def head(size, log=LOG):
    return Head(size, log.checkpoint(size).root)


def judge(body, at, keys=(LOG.verifier,)):
    request = AddCheckpoint.parse(body)
    verify_origin(request, keys)
    verify_extends(request, at)


@pytest.mark.parametrize(("old", "size"), [(0, 1), (0, 64), (1, 2), (3, 7), (4, 8), (32, 64), (63, 64), (64, 64)])
def test_a_tree_that_extends_the_last_one_passes(old, size):
    judge(LOG.body(old, size), head(old) if old else NOTHING)


def test_an_empty_log_passes():
    judge(LOG.body(0, 0), NOTHING)
    assert LOG.checkpoint(0).root == EMPTY_ROOT


@pytest.mark.parametrize(
    ("body", "at", "status"),
    [
        (LOG.body(8, 9).replace(b"old 8", b"old 10"), head(8), 400),
        (LOG.body(8, 9), head(9), 409),
        (LOG.body(0, 9), head(8), 409),
        (LOG.body(8, 9), NOTHING, 409),
        (SmallLog(fork=b"other").body(8, 9), head(8), 422),
        (SmallLog(fork=b"other", shared=8).body(9, 9), head(9), 422),
        (LOG.body(8, 9).replace(b"old 8", b"old 0"), NOTHING, 422),  # a proof from the empty tree
        (LOG.body(0, 9).replace(b"old 0", b"old 8"), head(8), 422),  # none where there must be one
        (LOG.body(9, 9).replace(b"\n\n", b"\n" + base64.b64encode(bytes(32)) + b"\n\n", 1), head(9), 422),
    ],
    ids=named,
)
def test_what_does_not_extend_is_refused_with_the_status_of_the_protocol(body, at, status):
    with pytest.raises(WitnessRefused) as refused:
        judge(body, at)
    assert refused.value.status == status


def test_a_conflict_says_the_size_that_was_cosigned():
    with pytest.raises(SizeConflict) as refused:
        judge(LOG.body(8, 9), head(20))
    assert refused.value.size == 20


def test_an_empty_tree_has_one_root():
    signer = NoteSigner(LOG_ORIGIN, key(1))
    note = signer.sign(f"{LOG_ORIGIN}\n0\n{base64.b64encode(bytes(32)).decode()}\n")
    with pytest.raises(ProofRefused):
        judge(b"old 0\n\n" + note.encode(), NOTHING)


def test_who_is_not_trusted_is_not_heard():
    with pytest.raises(OriginUnknown) as unknown:
        judge(LOG.body(0, 9), NOTHING, keys=())
    assert unknown.value.status == 404
    stranger = SmallLog(signer=NoteSigner(LOG_ORIGIN, key(2)))
    with pytest.raises(SignatureRefused, match="no key that is trusted") as refused:
        judge(stranger.body(0, 9), NOTHING)
    assert refused.value.status == 403
    # A line under the trusted key that does not verify spoils the note, however many others do.
    both = LOG.body(0, 9).decode() + "— " + LOG.note(8).partition("— ")[2]
    with pytest.raises(SignatureRefused, match="does not verify"):
        judge(both.encode(), NOTHING)


def test_the_lines_of_strangers_are_left_out_of_what_is_kept():
    stranger = SmallLog(signer=NoteSigner(LOG_ORIGIN, key(2))).note(9).partition("\n\n")[2]
    request = AddCheckpoint.parse(LOG.body(0, 9) + stranger.encode() + stranger.encode())
    kept = verify_origin(request, [LOG.verifier])
    assert kept == LOG.note(9).partition("\n\n")[2]


def test_extension_lines_of_other_logs_are_let_pass_and_belong_to_the_text():
    text = LOG.checkpoint(9).text + "extension 1\n"
    request = AddCheckpoint.parse(b"old 0\n\n" + LOG.signer.sign(text).encode())
    assert request.text == text
    assert request.checkpoint == LOG.checkpoint(9)
    verify_origin(request, [LOG.verifier])
    with pytest.raises(RequestMalformed):
        AddCheckpoint.parse(b"old 0\n\n" + LOG.signer.sign(LOG.checkpoint(9).text + "\nextension\n").encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        LOG.body(8, 9)[1:],
        LOG.body(8, 9).replace(b"old 8", b"old 08"),
        LOG.body(8, 9).replace(b"old 8", b"old -8"),
        LOG.body(8, 9).replace(b"old 8", b"old 8 "),
        LOG.body(8, 9).replace(b"old 8", "old ８".encode()),
        LOG.body(8, 9).replace(b"old 8", b"old 9223372036854775808"),
        LOG.body(8, 9).replace(b"old 8\n", b"old 8\r\n"),
        LOG.body(8, 9).replace(b"old 8\n", b"old 8\n\n"),
        LOG.body(8, 9).replace(b"=\n\n", b"\n\n", 1),
        LOG.body(8, 9).replace(b"\n\n", b"\nAAAA\n\n", 1),
        LOG.body(8, 9).replace(b"\n\n", b"\n" + (base64.b64encode(bytes(32)) + b"\n") * 63 + b"\n", 1),
        LOG.body(8, 9)[:-1],
        LOG.body(8, 9).replace(b"\n9\n", b"\n9\n\xff\n"),
        LOG.body(8, 9).partition("— ".encode())[0],
        LOG.body(8, 9) + b"x" * REQUEST_BYTES_MAX,
    ],
    ids=named,
)
def test_what_is_no_request_is_refused(body):
    with pytest.raises(RequestMalformed) as refused:
        AddCheckpoint.parse(body)
    assert refused.value.status == 400


def test_as_many_hashes_as_the_protocol_allows_are_read():
    body = LOG.body(0, 9).replace(b"\n\n", b"\n" + (base64.b64encode(bytes(32)) + b"\n") * 63 + b"\n", 1)
    assert len(AddCheckpoint.parse(body).proof) == 63


BODY = LOG.body(21, 45)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_no_byte_of_a_request_can_be_changed(position, change):
    changed = bytearray(BODY)
    changed[position] ^= change
    with pytest.raises(SekishoError):
        judge(bytes(changed), head(21))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 64), st.integers(0, 64), st.integers(0, 64), st.booleans())
def test_only_the_one_history_from_the_one_size_passes(old, size, at, forked):
    """Whatever is asked: it passes only from the size cosigned last, to a tree of the same history."""
    log = SmallLog(fork=b"other", shared=7) if forked else LOG
    passes = at == old <= size and (not forked or at <= 7)
    body = log.body(min(old, size), size).replace(b"old %d\n" % min(old, size), b"old %d\n" % old)
    try:
        judge(body, head(at) if at else NOTHING)
    except WitnessRefused:
        assert not passes
    else:
        assert passes


def test_two_roots_of_one_size_prove_a_split_and_nothing_less_does():
    other = SmallLog(fork=b"other").checkpoint(9)
    assert is_split(other, head(9))
    assert not is_split(LOG.checkpoint(9), head(9))
    assert not is_split(other, head(8))


# What another witness (torchwood) is tested with: a Sigsum log's key, and checkpoints that it signed.
SIGSUM_ORIGIN = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
SIGSUM_KEY = bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f")
SIGSUM = {
    (0, 1): (
        "",
        "KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=",
    ),
    (1, 3): (
        "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nKgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=",
        "UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=",
    ),
    (1, 5): (
        (
            "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=\n"
            "KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        ),
        "QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=",
        "UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=",
    ),
}


@pytest.mark.parametrize("sizes", SIGSUM)
def test_requests_of_another_implementation_are_judged_alike(sizes):
    (old, size), (proof, root, signature) = sizes, SIGSUM[sizes]
    body = f"old {old}\n{proof}\n{SIGSUM_ORIGIN}\n{size}\n{root}\n\n— {SIGSUM_ORIGIN} {signature}\n".encode()
    keys = [NoteVerifier(SIGSUM_ORIGIN, SIGSUM_KEY)]
    first = Head(1, base64.b64decode(SIGSUM[0, 1][1]))
    judge(body, first if old else NOTHING, keys)
    with pytest.raises(SignatureRefused, match="does not verify"):
        judge(body.replace(f"\n{size}\n".encode(), b"\n7\n", 1), NOTHING, keys)
