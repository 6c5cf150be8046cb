"""A log's side of asking a witness (C2SP tlog-witness): what to send, and what its answer is worth. Pure."""

from typing import Final, NamedTuple

from sekisho.kernel.cosignatures import CosignatureVerifier
from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import SignedNote, format_signature, parse_signatures
from sekisho.ledger.checkpoint import parse_decimal, read_checkpoint
from sekisho.ledger.errors import CheckpointInvalid, SizeConflict, WitnessAnswerInvalid
from sekisho.ledger.merkle import NodeSource, consistency_proof
from sekisho.ledger.witness import format_request

ANSWER_BYTES_MAX: Final = 64 << 10  # signature lines of several keys of one witness, ML-DSA-44 included
SIZE_TYPE: Final = "text/x.tlog.size"
_REASON_MAX: Final = 200  # characters of a witness's own words that we repeat


class WitnessAnswer(NamedTuple):
    """An HTTP answer as it came."""

    status: int
    content_type: str
    body: bytes


def write_request(old_size: int, note: str, node: NodeSource) -> bytes:
    """The body that asks for a cosignature of the published checkpoint `note`, from the size the witness has.

    `node` are the nodes of the tree at that checkpoint. Raises ValueError for an `old_size` beyond it, LogUnreadable.
    """
    return format_request(old_size, consistency_proof(old_size, read_checkpoint(note).size, node), note)


def read_answer(answer: WitnessAnswer, note: str, witness: CosignatureVerifier) -> str:
    """The line by which `witness` cosigned `note`, verified.

    Raises SizeConflict for a 409 that says a size (whether it is true is another question), WitnessAnswerInvalid for
    anything else.
    """
    # A proxy on the way may add a charset (RFC 9110 section 8.3.1: case does not matter, and parameters follow).
    if answer.status == 409 and answer.content_type.partition(";")[0].strip().lower() == SIZE_TYPE:
        raise SizeConflict(_size(answer.body))
    if answer.status != 200:
        words = answer.body.decode("utf-8", "replace").split("\n", 1)[0][:_REASON_MAX]
        reason = "".join(c if c.isprintable() else "�" for c in words)
        raise WitnessAnswerInvalid(f"it answered {answer.status}{': ' if reason else ''}{reason}")
    try:
        return verify_lines(answer.body.decode(), note, witness)
    except UnicodeDecodeError:
        raise WitnessAnswerInvalid("its answer is not UTF-8") from None


def verify_lines(lines: str, note: str, witness: CosignatureVerifier) -> str:
    """The newest cosignature of `witness` on `note` among signature `lines`, as a line.

    Lines of other keys are passed over, as tlog-witness asks. Raises WitnessAnswerInvalid if none is the witness's, or
    one of its own does not verify, or bears no time.
    """
    text = SignedNote.parse(note).text
    try:
        own = [one for one in parse_signatures(lines) if (one.name, one.key_id) == (witness.name, witness.key_id)]
        times = [witness.verify(text, one.signature) for one in own]
    except NoteError as error:
        raise WitnessAnswerInvalid(f"its answer does not hold: {error.message}") from None
    if not own:
        raise WitnessAnswerInvalid(f"its answer holds no cosignature of {witness.name}")
    if 0 in times:
        raise WitnessAnswerInvalid("it cosigned without a time")  # tlog-witness: MUST NOT be zero
    return format_signature(*own[times.index(max(times))])


def _size(body: bytes) -> int:
    try:
        text = body[:32].decode("ascii")
        if not text.endswith("\n"):
            raise WitnessAnswerInvalid("it answered 409 without a size")
        return parse_decimal(text[:-1])
    except (UnicodeDecodeError, CheckpointInvalid):
        raise WitnessAnswerInvalid("it answered 409 without a size") from None
