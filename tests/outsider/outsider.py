"""An outsider's verifier of receipts and logs.

Written from the public specifications (RFC 6962, RFC 9162, RFC 8785 and C2SP's signed-note, tlog-checkpoint,
tlog-tiles, tlog-proof, tlog-cosignature and tlog-policy) and the description of the receipt file, with the standard
library and `cryptography` only. It shares no code with the product on purpose. Every function raises `Rejected`, or
returns what it checked.
"""

import base64
import binascii
import hashlib
import json
import re
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Rejected(Exception):
    """Something does not hold."""


def need(condition, reason):
    if not condition:
        raise Rejected(reason)


def unbase64(text):
    need(isinstance(text, str), "base64 is text")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Rejected("bad base64") from None
    need(base64.b64encode(data).decode() == text, "base64 is not canonical")
    return data


def number(text):
    need(re.fullmatch("0|[1-9][0-9]{0,18}", text, re.ASCII), "bad number")
    return int(text)


# signed-note


class Key:
    def __init__(self, vkey, kind=1):
        name, _, rest = vkey.partition("+")
        key_id, _, encoded = rest.partition("+")
        need(name and not re.search(r"\s", name), "bad key name")
        blob = unbase64(encoded)
        need(len(blob) == 33 and blob[0] == kind, "not an Ed25519 key of this type")
        self.name = name
        self.key_id = hashlib.sha256(name.encode() + b"\n" + blob).digest()[:4]
        need(self.key_id.hex() == key_id, "wrong key id")
        self.public = Ed25519PublicKey.from_public_bytes(blob[1:])


def split_note(note):
    """The text, and (name, key id, signature) of each line."""
    text, separator, block = note.rpartition("\n\n")
    need(separator and block.endswith("\n"), "not a note")
    lines = []
    for line in block[:-1].split("\n"):
        match = re.fullmatch("\u2014 ([^ +]+) ([^ ]+)", line)
        need(match, "bad signature line")
        blob = unbase64(match[2])
        need(len(blob) > 4, "short signature")
        lines.append((match[1], blob[:4], blob[4:]))
    return text + "\n", lines


def check_signature(key, signature, message):
    try:
        key.public.verify(signature, message)
    except InvalidSignature:
        raise Rejected("bad signature of " + key.name) from None


def open_note(note, key):
    text, lines = split_note(note)
    own = [signature for name, key_id, signature in lines if (name, key_id) == (key.name, key.key_id)]
    for signature in own:
        check_signature(key, signature, text.encode())
    need(own, "not signed by " + key.name)
    return text


# tlog-cosignature, tlog-policy


def cosigned_at(note, vkey):
    """When (POSIX seconds) the witness last cosigned; None if it did not."""
    key = Key(vkey, 4)
    text, lines = split_note(note)
    times = []
    for name, key_id, signature in lines:
        if (name, key_id) == (key.name, key.key_id):
            need(len(signature) == 72 and signature[0] < 128, "bad cosignature")
            time = int.from_bytes(signature[:8], "big")
            check_signature(key, signature[8:], f"cosignature/v1\ntime {time}\n{text}".encode())
            times.append(time)
    return max(times, default=None)


def check_policy(note, policy):
    """A checkpoint's note under a policy that is taken to be well formed. Returns the names that cosigned."""
    origin = note.partition("\n")[0]
    logs, members, names, quorum = [], {}, set(), None
    for line in policy.split("\n"):
        words = [word for word in re.split("[ \t]", line) if word]
        if words[:1] == ["log"]:
            logs.append(Key(words[1]))
        elif words[:1] == ["witness"]:
            if cosigned_at(note, words[2]) is not None:
                names.add(words[1])
        elif words[:1] == ["group"]:
            count = {"any": 1, "all": len(words) - 3}.get(words[2]) or int(words[2])
            members[words[1]] = (count, words[3:])
        elif words[:1] == ["quorum"]:
            quorum = words[1]

    def met(name):
        if name not in members:
            return name in names
        count, inside = members[name]
        return sum(map(met, inside)) >= count

    signed = {(name, key_id) for name, key_id, _ in split_note(note)[1]}
    own = [key for key in logs if key.name == origin and (key.name, key.key_id) in signed]
    for key in own:
        open_note(note, key)
    need(own or not logs, "no log of the policy")
    need(quorum == "none" or met(quorum), "no quorum")
    return names


# tlog-checkpoint, tlog-proof, RFC 9162


def open_checkpoint(note, key):
    lines = open_note(note, key).split("\n")
    need(len(lines) == 4 and lines[3] == "" and lines[0] == key.name, "bad checkpoint")
    root = unbase64(lines[2])
    need(len(root) == 32, "bad root")
    return number(lines[1]), root


def leaf(data):
    return hashlib.sha256(b"\0" + data).digest()


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root_from_path(index, size, value, path):
    """RFC 9162 section 2.1.3.2."""
    need(index < size, "outside of the tree")
    first, last = index, size - 1
    for step in path:
        need(last != 0, "path too long")
        if first % 2 or first == last:
            value = node(step, value)
            while first % 2 == 0 and first != 0:
                first, last = first // 2, last // 2
        else:
            value = node(value, step)
        first, last = first // 2, last // 2
    need(last == 0, "path too short")
    return value


def check_proof(text, entry, key):
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")
    need(separator and lines[0] == "c2sp.org/tlog-proof@v1", "not a tlog-proof")
    need(len(lines) >= 2 and lines[1].startswith("index "), "no index")
    index = number(lines[1][6:])
    path = [unbase64(line) for line in lines[2:]]
    need(all(len(step) == 32 for step in path), "bad hash")
    size, root = open_checkpoint(note, key)
    need(root_from_path(index, size, leaf(entry), path) == root, "not in the log")
    return index, note


# RFC 8785, for values without floating-point numbers


def canonical(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode("utf-8")


def parse_canonical(data):
    def no_float(_):
        raise Rejected("a number that is no integer")

    try:
        value = json.loads(data.decode("utf-8"), parse_float=no_float, parse_constant=no_float)
        again = canonical(value)
    except (ValueError, RecursionError):
        raise Rejected("not JSON") from None
    need(again == data, "not canonical")
    return value


# The receipt


def check_receipt(data, site_vkey, policy=None):
    receipt = parse_canonical(data)
    need(isinstance(receipt, dict), "not an object")
    need(set(receipt) == {"enrolment", "entries", "format", "request", "site_key"}, "fields of the receipt")
    need(receipt["format"] == "sekisho.receipt/1", "format")
    need(receipt["site_key"] == site_vkey, "another site")
    text = open_note(receipt["enrolment"], Key(site_vkey))
    lines = text.split("\n")
    need(len(lines) == 4 and lines[0] == "sekisho.enrolment/v1" and lines[3] == "", "enrolment")
    log = Key(lines[2])
    need(log.name == lines[1], "the log key has another origin")
    decisions, outcomes, notes, last = {}, {}, set(), -1
    for part in receipt["entries"]:
        need(set(part) == {"entry", "proof", "salts"}, "fields of an entry")
        entry, body = part["entry"], part["entry"]["body"]
        index, note = check_proof(part["proof"], canonical(entry), log)
        need(index > last, "order")
        last = index
        notes.add(note)
        need(
            set(entry) == {"actor", "at", "body", "id", "kind", "request", "seq", "site", "v", "writer"},
            "envelope",
        )
        need(entry["v"] == 1 and entry["request"] == receipt["request"], "request")
        check_salts(body, part["salts"])
        if entry["kind"] == "decision":
            need(body["attempt"] == len(decisions) + 1, "attempts")
            check_chosen(body)
            decisions[entry["id"]] = body
        else:
            need(entry["kind"] == "outcome" and body["decision"] in decisions, "outcome without decision")
            need(body["decision"] not in outcomes, "two outcomes")
            need(body["attempt"] == decisions[body["decision"]]["attempt"], "attempt")
            outcomes[body["decision"]] = body
    for body in outcomes.values():
        after = decisions.get(body["next"]) if "next" in body else None
        need("next" not in body or (after or {}).get("attempt") == body["attempt"] + 1, "an attempt was cut off")
    need(decisions and len(notes) == 1, "one checkpoint")
    need({i for i, body in decisions.items() if body["chosen"] is not None} == set(outcomes), "outcomes")
    if policy is not None:
        check_policy(notes.pop(), policy)
    return receipt


def check_chosen(body):
    """Chosen is what is permitted, or what monitor mode says that it let pass although policy denies it."""
    permitted = [group for group in body["candidates"] if group["permitted"]]
    if body["chosen"] is None:
        need(not body["monitored"], "a denial that was let pass")
        return
    action, name = body["chosen"]["action"], body["chosen"]["deployment"]
    where = [group for group in body["candidates"] if group["action"] == action and name in group["deployments"]]
    need(len(where) == 1, "chosen, and no candidate")
    if body["monitored"]:
        need(not permitted and where[0]["errors"] == [], "monitored, and may not be")
    else:
        need(where[0]["permitted"] is True, "chosen, and not permitted")


def check_salts(body, salts):
    committed = {f for f, v in body.items() if isinstance(v, dict) and set(v) == {"bytes", "salt_sha256", "sha256"}}
    need(set(salts) == committed, "salts")
    for field, text in salts.items():
        salt = unbase64(text)
        need(len(salt) == 32 and hashlib.sha256(salt).hexdigest() == body[field]["salt_sha256"], "salt")


# tlog-tiles


def tile_path(level, n, width):
    groups = []
    while True:
        groups.append(f"{n % 1000:03d}")
        n //= 1000
        if n == 0:
            break
    name = "/".join(["x" + g for g in reversed(groups[1:])] + groups[:1])
    return f"tile/{level}/{name}" + ("" if width == 256 else f".p/{width}")


def read(directory, level, n, width):
    try:
        return (Path(directory) / tile_path(level, n, width)).read_bytes()
    except FileNotFoundError:
        raise Rejected("missing: " + tile_path(level, n, width)) from None


def widths(count):
    return [256] * (count // 256) + ([count % 256] if count % 256 else [])


def mth(hashes):
    """RFC 6962 section 2.1, over leaf hashes."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return node(mth(hashes[:k]), mth(hashes[k:]))


def check_log(directory, log_vkey):
    """Every bundle and every tile under the checkpoint. Returns the entries."""
    key = Key(log_vkey)
    try:
        note = (Path(directory) / "checkpoint").read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected("not UTF-8") from None
    size, root = open_checkpoint(note, key)
    entries = []
    for n, width in enumerate(widths(size)):
        data, offset, before = read(directory, "entries", n, width), 0, len(entries)
        while offset < len(data):
            length = int.from_bytes(data[offset : offset + 2], "big")
            need(offset + 2 + length <= len(data), "bundle cut short")
            entries.append(data[offset + 2 : offset + 2 + length])
            offset += 2 + length
        need(len(entries) - before == width, "width of a bundle")
    hashes = [leaf(entry) for entry in entries]
    need(mth(hashes) == root, "root")
    level = 0
    while hashes:
        for n, width in enumerate(widths(len(hashes))):
            expected = b"".join(hashes[256 * n : 256 * n + width])
            need(read(directory, level, n, width) == expected, "tile " + tile_path(level, n, width))
        hashes = [mth(hashes[i : i + 256]) for i in range(0, len(hashes) - 255, 256)]
        level += 1
    return entries


def main(arguments):
    """`outsider.py receipt FILE SITE_VKEY [POLICY_FILE]` or `outsider.py log DIRECTORY LOG_VKEY`."""
    what, path, vkey, *policy = arguments
    if what == "receipt":
        demanded = Path(policy[0]).read_text(encoding="utf-8") if policy else None
        receipt = check_receipt(Path(path).read_bytes(), vkey, demanded)
        print("receipt holds:", receipt["request"])
    else:
        print("log holds:", len(check_log(path, vkey)), "entries")


if __name__ == "__main__":
    main(sys.argv[1:])
