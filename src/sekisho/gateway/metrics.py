"""Counters of one worker, in Prometheus' text format (version 0.0.4)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

METRICS: Final = {
    "sekisho_requests_total": ("counter", "Answers given, by HTTP status."),
    "sekisho_denied_total": ("counter", "Requests that no deployment was permitted to receive."),
    "sekisho_monitored_total": ("counter", "Requests sent in monitor mode that policy denies."),
    "sekisho_attempts_total": ("counter", "Attempts at a deployment, by how they ended."),
    "sekisho_attempt_errors_total": ("counter", "Attempts that failed, by the error that their receipt names."),
    "sekisho_faults_total": ("counter", "Faults that a caller was told of, by error code."),
    "sekisho_authentications_total": ("counter", "Callers let in, by kind: key, token, certificate."),
    "sekisho_token_fetches_total": (
        "counter",
        "Tokens asked for at token endpoints: fetched, refused, unreachable, unreadable (our own files), fault.",
    ),
    "sekisho_content_lost_total": (
        "counter",
        "Content that policy lets be kept and that was not: too_large, behind (no room), disk, stopping, fault.",
    ),
    "sekisho_stream_events_total": ("counter", "Server-sent events relayed."),
    "sekisho_requests_in_flight": ("gauge", "Requests being served."),
    "sekisho_ledger_full": ("gauge", "1 while the ledger takes no new decision."),
    "sekisho_ledger_budget_used_ratio": ("gauge", "Of the disk that this worker's unmerged entries may take."),
    "sekisho_credential_files_stale": (
        "gauge",
        "Credential and TLS files that can't be read; their last reading is used.",
    ),
    "sekisho_sign_ins_missing": (
        "gauge",
        "Sign-ins without a secret that could be read or a valid token; their deployments can't be used.",
    ),
    "sekisho_register_age_seconds": ("gauge", "Since the key register was last read."),
    "sekisho_issuer_keys_age_seconds": ("gauge", "Since an issuer's keys were last read from where it publishes them."),
    "sekisho_stops": ("gauge", "Emergency stops that are set."),
    "sekisho_declarations_mistakes": ("gauge", "Mistakes that keep the declarations on disk from being in force."),
}

Gauges = Mapping[str, float | Mapping[str, float]]  # a value, or one for each of its labels as they are written


class Metrics:
    """Belongs to one event loop: no locks."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.attempts: Counter[str] = Counter()
        self.attempt_errors: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.authentications: Counter[str] = Counter()
        self.token_fetches: Counter[str] = Counter()
        self.content_lost: Counter[str] = Counter()
        self.denied = 0
        self.monitored = 0
        self.stream_events = 0
        self.in_flight = 0

    def render(self, gauges: Gauges) -> bytes:
        """All metrics; `gauges` are those that others measure."""
        lines: list[str] = []
        _add(lines, "sekisho_requests_total", ((f'status="{status}"', n) for status, n in self.statuses.items()))
        _add(lines, "sekisho_denied_total", [("", self.denied)])
        _add(lines, "sekisho_monitored_total", [("", self.monitored)])
        _add(lines, "sekisho_attempts_total", ((f'ended="{ended}"', n) for ended, n in self.attempts.items()))
        _add(lines, "sekisho_attempt_errors_total", ((f'code="{code}"', n) for code, n in self.attempt_errors.items()))
        _add(lines, "sekisho_faults_total", ((f'code="{code}"', n) for code, n in self.faults.items()))
        _add(
            lines, "sekisho_authentications_total", ((f'kind="{kind}"', n) for kind, n in self.authentications.items())
        )
        _add(lines, "sekisho_token_fetches_total", ((f'result="{kind}"', n) for kind, n in self.token_fetches.items()))
        _add(
            lines, "sekisho_content_lost_total", ((f'reason="{reason}"', n) for reason, n in self.content_lost.items())
        )
        _add(lines, "sekisho_stream_events_total", [("", self.stream_events)])
        _add(lines, "sekisho_requests_in_flight", [("", self.in_flight)])
        for name, value in gauges.items():
            _add(lines, name, value.items() if isinstance(value, Mapping) else [("", value)])
        return ("\n".join(lines) + "\n").encode()


def label(name: str, value: str) -> str:
    """`name="value"`, escaped as the format asks."""
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{name}="{escaped}"'


def exposition(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    """The lines of one metric; a sample is its labels as they are written, and its value."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    return lines + [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in samples]


def _add(lines: list[str], name: str, samples: Iterable[tuple[str, float]]) -> None:
    lines += exposition(name, *METRICS[name], samples)
