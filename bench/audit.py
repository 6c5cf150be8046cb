"""An audit's speed by depth, and its memory: entries per second over a log of real decisions and outcomes.

Run: `make bench ARGS="audit [entries]"`; 1,000,000 unless told otherwise. The log is made by the publisher's own
merge, from entries as the gateway encodes them; that takes about twice as long as the audits. Each depth runs in a
process of its own, whose peak memory is told. pymerkle, which shares no code with us, must reach the same root.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pymerkle

from audited_log import START_US, AuditedLog, Clock, Writer
from sekisho.gateway.dialects.answers import Usage
from sekisho.gateway.entries import DecisionRecord, Ended, OutcomeRecord, outcome_body
from sekisho.gateway.routing import Route
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.commitments import commit
from sekisho.ledger.log_files import LogFiles
from sekisho.policy.interfaces import SEND_RAW, PrincipalInput

PROVIDER = "p"
INPUTS = 512  # distinct inputs: a bank's callers, classes and labels repeat
KEYS = 64
ORACLE_MAX = 100_000  # pymerkle's tree is held in memory


def entries(log, count):
    """`count` entries of requests as the gateway writes them: canonical by construction, encoded once."""
    classes = ("public", "internal", "confidential", "restricted")
    labels = ((), ("jp.my_number",), ("secret.api_key",), ("opaque",))
    decided = []
    for number in range(INPUTS):
        found = labels[number // 4 % 4]
        principal = PrincipalInput(f"key-{number % KEYS}", "default", ("caller",))
        decision = log.decided(
            data_class=classes[number % 4],
            labels_raw=found,
            labels_redacted=found,
            redactable=False,
            principal=principal,
        )
        decided.append(decision)
    written, number = 0, 0
    usage = Usage(300, 200, "upstream")
    while written < count:
        decision = decided[number % INPUTS]
        number += 1
        now_us = log.clock.now_us()
        request, identifier = log.ids.new(now_us), log.ids.new(now_us)
        actor = decision.input.principal.id
        route = Route(decision.permitted_raw[0], SEND_RAW) if decision.permitted_raw else None
        committed = commit(log.salts.of(identifier, "received"), b"question")
        record = DecisionRecord("chat", 1, route, 512, committed, None if route is None else committed)
        yield line(actor, now_us, log.encoder.encode(decision, record), identifier, "decision", request, written)
        written += 1
        if route is not None and written < count:
            ended = OutcomeRecord(identifier, 1, Ended.COMPLETE, None, 200, None, True, 900, 2_000, usage, committed)
            now_us = log.clock.now_us()
            yield line(actor, now_us, outcome_body(ended), log.ids.new(now_us), "outcome", request, written)
            written += 1


def line(actor, at, body, identifier, kind, request, seq):
    head = f'{{"actor":"{actor}","at":{at},"body":'.encode()
    tail = f',"id":"{identifier}","kind":"{kind}","request":"{request}","seq":{seq},"site":"home","v":1,'
    return head + body + (tail + '"writer":"w-gateway"}').encode()


def build(root, count):
    log = AuditedLog(root)
    log.clock = Clock(START_US)
    for key in range(KEYS):
        log.create_key(str(key))
    log.gateway = Writer("w-gateway", entries(log, count))
    start = time.perf_counter()
    size = log.publish()
    log.close()
    took = time.perf_counter() - start
    written = sum(file.stat().st_size for file in (root / "ledger" / "tile").rglob("*") if file.is_file())
    print(f"made a log of {size:,} entries, {written >> 20} MiB, in {took:.0f} s")
    return size


def usage_file(root):
    """What a provider that agrees with the ledger would say."""
    files = LogFiles(root / "ledger")
    size = read_checkpoint(files.checkpoint()).size
    path = root / "usage.csv"
    with path.open("w") as out:
        out.write("request_id,time,prompt_tokens,completion_tokens\n")
        for _, bundle in files.entries(0, size):
            for entry in bundle:
                if b'"kind":"outcome"' in entry:
                    envelope = json.loads(entry)
                    out.write(f"{envelope['request']},{envelope['at'] // 1_000_000},300,200\n")
    return path


def audit_here(root, depth):
    """In the child: one audit; what came of it, and the peak of this process, as JSON."""
    from sekisho.app.audit import AuditAsked, Auditor, ProviderAsked
    from sekisho.kernel.clock import SystemClock

    provider = ProviderAsked(PROVIDER, usage=root / "usage.csv") if depth == 4 else None
    before = peak_bytes()
    start, cpu = time.perf_counter(), time.process_time()
    report = Auditor(SystemClock()).audit(AuditAsked(str(root), depth=depth, provider=provider))
    told = {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu, "size": report.size}
    print(json.dumps(told | {"peak": peak_bytes(), "before": before, "errors": report.findings.count("error")}))


def peak_bytes():
    """The most memory that this program has held; what forked it does not count."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def main():
    words = sys.argv[1:]
    if words[:1] == ["--child"]:
        audit_here(Path(words[1]), int(words[2]))
        return
    count = int(words[0]) if words else 1_000_000
    with tempfile.TemporaryDirectory(dir=".") as directory:
        root = Path(directory) / "site"
        root.mkdir()
        size = build(root, count)
        usage_file(root)
        if size <= ORACLE_MAX * 2:
            files = LogFiles(root / "ledger")
            tree = pymerkle.InmemoryTree(algorithm="sha256")
            for _, bundle in files.entries(0, size):
                for entry in bundle:
                    tree.append_entry(entry)
            assert tree.get_root() == read_checkpoint(files.checkpoint()).root
            print("pymerkle reaches the same root")
        for depth in (1, 2, 3, 4):
            child = [sys.executable, __file__, "--child", str(root), str(depth)]
            done = subprocess.run(child, capture_output=True, text=True, check=True, env=os.environ)
            told = json.loads(done.stdout)
            assert told["errors"] == 0, told
            print(
                f"depth {depth}: {told['size'] / told['wall']:,.0f} entries/s in {told['wall']:.1f} s "
                f"({told['size'] / told['cpu']:,.0f} per CPU second), peak {told['peak'] >> 20} MiB, of which "
                f"{told['before'] >> 20} MiB before it began"
            )


if __name__ == "__main__":
    main()
