"""What a doctor makes of what was seen. No installation: every judgement is a function of what probes bring."""

import datetime
import json
import os
import string
import struct
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import support_decide
from sekisho import __version__
from sekisho.app.doctor import (
    clock,
    content,
    declared,
    disk,
    facts,
    keys,
    locks,
    providers,
    smells,
    versions,
    witnesses,
)
from sekisho.app.doctor.examine import Running, Theme, judge_answers
from sekisho.app.doctor.findings import OK, PROBLEM, WARNING, bounded, ok, problem, warning
from sekisho.app.witness import open_witness
from sekisho.catalog.delegations import Published
from sekisho.catalog.errors import CredentialError
from sekisho.catalog.interfaces import (
    ApprovalRule,
    BasicSignIn,
    Catalogue,
    CredentialReference,
    Deployment,
    EgressProxy,
    EntraSignIn,
    Exemption,
    Fact,
    Grade,
    Mistake,
    ObservedFact,
    Organisation,
    Provider,
)
from sekisho.cli.doctor import as_lines, as_objects
from sekisho.cli.doctor_words import WORDS, told
from sekisho.cli.explain import language_of
from sekisho.content.files import ContentFiles
from sekisho.content.interfaces import Content
from sekisho.gateway.http1.interfaces import ClientTls
from sekisho.identity.interfaces import Stop
from sekisho.identity.register_look import RegisterLook
from sekisho.kernel.ids import IdSource
from sekisho.ledger.cosigner import WitnessStatus
from sekisho.ledger.interfaces import PublishedEntry
from sekisho.settings import (
    ControlSettings,
    DataDirectory,
    GatewaySettings,
    InstallationSettings,
    ProbeSettings,
    Settings,
)

GIB = 1 << 30
NOW_US = 1_790_000_000_000_000
DAY_US = 86_400_000_000
SOURCES = Path(disk.__file__).parent


def codes(findings):
    return [(one.severity, one.code) for one in findings]


# -- words


def codes_in_sources():
    """Every code that stands in the sources, and in what severity's making: `problem("a.b"` and the like."""
    text = "".join(path.read_text() for path in SOURCES.glob("*.py"))
    return {word for word in text.replace("'", '"').split('"') if word in WORDS or _looks_like_code(word)}


def _looks_like_code(word):
    head, _, tail = word.partition(".")
    heads = {code.partition(".")[0] for code in WORDS}
    return head in heads and bool(tail) and set(tail) <= set(string.ascii_lowercase + "_")


def test_every_code_has_words_and_every_word_a_code():
    assert codes_in_sources() == set(WORDS)


@pytest.mark.parametrize("code", sorted(WORDS))
def test_words_are_there_in_both_languages_and_name_the_same_values(code):
    words = WORDS[code]

    def values(text):
        return {field for _, field, _, _ in string.Formatter().parse(text) if field}

    assert values(words.message) >= values(words.message_ja)
    assert values(words.message_ja) >= values(words.message)
    assert bool(words.remedy) == bool(words.remedy_ja)
    assert values(words.remedy) == values(words.remedy_ja)


def test_values_with_units_are_put_in_words():
    finding = warning("disk.short", used_bytes=3 * GIB, free_bytes=512, reserve_bytes=1 << 20, lasts_s=3 * 86_400)
    english, remedy = told(finding, "en")
    assert "3.0 GiB" in english
    assert "512 B" in english
    assert "3 days" in english
    assert remedy
    assert "3 日" in told(finding, "ja")[0]
    assert "12.5 ms" in told(ok("disk.sync", p50_us=12_500, worst_us=1), "en")[0]
    behind = problem("clock.behind", what="entry", newest_at=NOW_US, ahead_s=90)
    assert "2026-09-21" in told(behind, "en")[0]


def test_what_it_quotes_is_shown_and_not_obeyed():
    assert "\x1b" not in told(problem("key.missing", path="\x1b[2Jx"), "en")[0]


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_US", "LC_MESSAGES": "ja_JP"}, "ja"),
        ({"LANG": "ja", "LC_ALL": ""}, "ja"),
    ],
)
def test_the_language_is_that_of_the_locale(environment, language):
    assert language_of(environment) == language


def test_people_read_lines_and_programs_read_objects():
    themes = [Theme("keys", [ok("key.all"), problem("key.missing", path="keys/log.key")])]
    lines = as_lines(themes, "en")
    assert lines[1:] == [
        "PROBLEM keys/log.key is missing",
        "        → Restore it from your backup of keys/",
        "",
        "1 problem, 0 warnings.",
    ]
    assert as_lines(themes, "ja")[-1] == "問題 1 件、警告 0 件。"
    row = as_objects(themes, "en")[1]
    assert (row["theme"], row["severity"], row["code"], row["values"]) == (
        "keys", "problem", "key.missing", {"path": "keys/log.key"},
    )  # fmt: skip


def test_many_alike_are_counted_and_keep_their_weight():
    few = [warning("key.open", path=str(n)) for n in range(3)]
    assert bounded(few, 3, "key.open_more") == few
    more = bounded([*few, problem("key.open", path="x")], 3, "key.open_more")
    assert codes(more)[-1] == (PROBLEM, "key.open_more")
    assert more[-1].values == {"count": 1}


# -- disk


@pytest.mark.parametrize(
    ("free", "rate", "expected"),
    [
        (100 * GIB, None, (OK, "disk.room")),
        (100 * GIB, 1.0, (OK, "disk.lasts")),
        (100 * GIB, 100 * GIB / 86_400, (WARNING, "disk.short")),
        (GIB, 1.0, (WARNING, "disk.low")),
        (1000, 1.0, (PROBLEM, "disk.full")),
        (999, None, (PROBLEM, "disk.full")),
    ],
)
def test_room(free, rate, expected):
    found = disk.judge_room(disk.Room(5, free, 1000, 0), rate)
    assert codes([found]) == [expected]


def test_room_counts_what_is_not_merged_twice():
    """As the write-ahead log does before it takes a decision."""
    assert disk.judge_room(disk.Room(0, 4 * GIB, 0, 2 * GIB), None).code == "disk.low"
    assert disk.judge_room(disk.Room(0, 4 * GIB, 0, GIB), None).code == "disk.room"


@given(st.integers(0, 1 << 50), st.integers(0, 1 << 50), st.floats(1e-6, 1e12))
def test_room_never_lasts_longer_with_less(free, less, rate):
    def lasts(bytes_free):
        return disk.judge_room(disk.Room(0, bytes_free, 0, 0), rate).values.get("lasts_s")

    with_less, with_all = lasts(max(0, free - less)), lasts(free)
    assume(with_less is not None and with_all is not None)  # else it is said in other words
    assert with_less <= with_all


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [([0.001] * 9 + [0.5], (OK, "disk.sync")), ([0.02] * 9 + [0.001], (WARNING, "disk.sync_slow"))],
)
def test_syncs_are_judged_by_their_median(seconds, expected):
    found = disk.judge_sync(seconds)
    assert codes([found]) == [expected]
    assert found.values["worst_us"] == int(max(seconds) * 1e6)


@pytest.mark.parametrize(
    ("kind", "severity"),
    [("ext4", OK), ("xfs", OK), ("", OK), ("tmpfs", WARNING), ("overlay", WARNING), ("nfs4", PROBLEM), ("9p", PROBLEM)],
)
def test_kinds_of_file_system(kind, severity):
    assert disk.judge_filesystem(kind).severity == severity


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /srv rw - tmpfs tmpfs rw
31 30 0:26 / /srv/with\\040space rw shared:9 - nfs4 host:/x rw
32 22 0:27 / /srv rw - overlay overlay rw
torn line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x", "ext4"),
        ("/", "ext4"),
        ("/srv", "overlay"),
        ("/srv/a", "overlay"),
        ("/srvx", "ext4"),
        ("/srv/with space/a", "nfs4"),
    ],
)
def test_the_mount_that_holds_a_path(path, kind):
    assert disk.filesystem_of(MOUNTS, path) == kind
    assert disk.filesystem_of("", path) == ""


class Log:
    """A published log of entries at `times` (µs UTC), of `length` bytes each."""

    def __init__(self, times, length=300):
        self.times, self.length, self.looks = times, length, 0

    def size(self):
        return len(self.times)

    def back_from(self, leaf, bundles_max):
        self.looks += 1
        end = min(leaf, len(self.times))
        for index in range(end - 1, max(-1, end - 257), -1):
            entry = json.dumps({"at": self.times[index]})
            yield PublishedEntry(index, entry.ljust(self.length).encode())


def test_the_rate_is_that_of_the_last_day():
    old = list(range(NOW_US - 30 * DAY_US, NOW_US - 20 * DAY_US, DAY_US // 1_000))
    new = list(range(NOW_US - DAY_US + 1, NOW_US, DAY_US // 500))
    log = Log([*old, *new])
    rate = disk.bytes_per_second(log, NOW_US)
    expected = len(new) * (300 + disk.ENTRY_OVERHEAD_BYTES) / 86_400
    assert rate == pytest.approx(expected)
    assert log.looks < 40  # whatever the log's size


def test_a_young_log_tells_no_rate():
    assert disk.bytes_per_second(Log([]), NOW_US) is None
    assert disk.bytes_per_second(Log([NOW_US - 1_000_000] * 10_000), NOW_US) is None
    assert disk.bytes_per_second(Log([NOW_US + DAY_US]), NOW_US) is None


def test_syncs_are_measured_in_a_file_that_is_gone(tmp_path):
    taken = disk.measure_syncs(tmp_path)
    assert 1 <= len(taken) <= disk.SYNCS_MAX
    assert list(tmp_path.iterdir()) == []


def test_what_is_used_is_counted(tmp_path):
    assert disk.used_bytes(tmp_path) == (0, True)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(100_000))
    total, whole = disk.used_bytes(tmp_path)
    assert whole
    assert 100_000 <= total < 200_000


# -- clock


@pytest.mark.parametrize(
    ("newest", "expected"),
    [
        (NOW_US - 1, (OK, "clock.ahead")),
        (NOW_US + clock.AHEAD_US_MAX, (OK, "clock.ahead")),
        (NOW_US + clock.AHEAD_US_MAX + 1, (PROBLEM, "clock.behind")),
    ],
)
def test_the_clock_is_held_against_the_newest(newest, expected):
    seen = [clock.Seen("merge", NOW_US - DAY_US), clock.Seen("entry", newest)]
    found = clock.judge_clock(NOW_US, seen)
    assert codes([found]) == [expected]
    assert found.values.get("what", "entry") == "entry"
    assert clock.judge_clock(NOW_US, []).code == "clock.nothing"


def test_time_sources():
    assert codes(clock.judge_synchronised(False)) == [(WARNING, "clock.unsynchronised")]
    assert codes(clock.judge_synchronised(True)) == [(OK, "clock.synchronised")]
    assert clock.judge_synchronised(None) == []
    assert clock.is_synchronised() in (True, False, None)


# -- locks

UP = locks.Holder(10, "S", "python -m sekisho up /srv/site")
LONG = "/srv" + "/x" * 100  # a path of its own is no reason not to find the command in it
CONTROL = locks.Holder(11, "S", f"{LONG}/python -m sekisho control /srv/site")
GATEWAY = locks.Holder(12, "S", f"{LONG}/python -m sekisho gateway /srv/site")
UNSEEN = locks.Holder(locks.UNKNOWN_PROCESS, "", "")


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (locks.Held(None, None), [(OK, "lock.nobody")]),
        (locks.Held(UP, CONTROL), [(OK, "lock.held"), (OK, "lock.held")]),
        (locks.Held(None, CONTROL), [(OK, "lock.held")]),
        (locks.Held(UP, None), [(OK, "lock.held"), (PROBLEM, "lock.no_control")]),
        (locks.Held(UP, CONTROL._replace(state="T")), [(OK, "lock.held"), (PROBLEM, "lock.stopped")]),
        (locks.Held(None, CONTROL._replace(command="sleep 9")), [(PROBLEM, "lock.foreign")]),
        (locks.Held(UP._replace(process=0), CONTROL), [(WARNING, "lock.unseen"), (OK, "lock.held")]),
        (locks.Held(None, None, ("w-1", "w-2")), [(OK, "lock.nobody"), (WARNING, "lock.unmerged")]),
        (locks.Held(None, CONTROL, ("w-1",)), [(OK, "lock.held")]),  # control merges it just now
        (locks.Held(UP, CONTROL, (), (CONTROL, GATEWAY)), [(OK, "lock.held"), (OK, "lock.held")]),
        (
            locks.Held(UP, CONTROL, (), (GATEWAY._replace(state="T"),)),
            [(OK, "lock.held"), (OK, "lock.held"), (PROBLEM, "lock.stopped")],
        ),
        (locks.Held(None, None, (), (GATEWAY,)), [(OK, "lock.held"), (PROBLEM, "lock.gateway_alone")]),
        (locks.Held(None, CONTROL, (), (CONTROL, GATEWAY)), [(OK, "lock.held"), (OK, "lock.held")]),
        (locks.Held(None, None, (), (UNSEEN,)), [(WARNING, "lock.unseen")]),
    ],
)
def test_who_holds_the_locks(held, expected):
    assert codes(locks.judge_locks(held)) == expected


def test_a_long_command_is_cut_in_words_only():
    (found,) = locks.judge_locks(locks.Held(None, CONTROL))
    assert len(found.values["command"]) == 120


def test_a_gateway_is_one_that_can_be_seen():
    assert locks.Held(None, CONTROL, (), (UNSEEN, CONTROL, GATEWAY)).gateway == GATEWAY
    assert locks.Held(None, CONTROL, (), (UNSEEN, CONTROL)).gateway is None


LOCKS = """\
1: FLOCK  ADVISORY  WRITE 1208 fe:00:2466707 0 EOF
1: -> FLOCK  ADVISORY  WRITE 1300 fe:00:2466707 0 EOF
2: POSIX  ADVISORY  READ 1209 fe:00:55 128 128
3: FLOCK  ADVISORY  WRITE -1 fe:00:77 0 EOF
4: FLOCK  ADVISORY  WRITE 8 00:2f:99 0 EOF
5: FLOCK  ADVISORY  WRITE 9 fe:00:99 0 EOF
6: FLOCK  ADVISORY  WRITE 7 00:2f:44 0 EOF
"""
DISK, BTRFS = (0xFE, 0), (0, 0x30)


@pytest.mark.parametrize(
    ("inode", "device", "process"),
    [
        (2466707, DISK, 1208), (55, DISK, None), (77, DISK, locks.UNKNOWN_PROCESS), (99, DISK, 9), (1, DISK, None),
        (99, BTRFS, 8),  # shown as another of its kind
        (44, BTRFS, 7), (44, DISK, None),  # not on any other file system
        (2466707, BTRFS, None), (99, (0xFD, 1), None),
    ],
)  # fmt: skip
def test_holders_are_read_from_the_kernels_list(inode, device, process):
    assert locks.holder_in(LOCKS, inode, device) == process


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        (Running("ready", (), True, __version__), [(OK, "process.ready")]),
        (Running("ready", (), True, "0.0.1"), [(OK, "process.ready"), (WARNING, "version.running")]),
        (Running("not ready", ("a", "b"), True, None), [(PROBLEM, "process.not_ready")] * 2),
        (
            Running("unknown", (), False, None),
            [(PROBLEM, "process.control_silent"), (PROBLEM, "process.gateway_silent")],
        ),
        (Running(None, (), True, None), []),
        (Running("not ready", (), True, None), [(PROBLEM, "process.not_ready")]),
    ],
)
def test_what_runs_must_answer(running, expected):
    assert codes(judge_answers(locks.Held(UP, CONTROL), running)) == expected


def test_a_gateway_of_another_supervisor_must_answer_too():
    silent = Running("unknown", ("not a gateway's answer",), None, None)
    found = judge_answers(locks.Held(None, None, (), (GATEWAY,)), silent)
    assert codes(found) == [(PROBLEM, "process.gateway_silent")]
    assert found[0].values["reason"] == "not a gateway's answer"


def test_control_alone_owes_no_gateway():
    assert judge_answers(locks.Held(None, CONTROL), Running("unknown", (), True, None)) == []


def test_a_process_says_what_it_was_started_with():
    found = locks.environment_of(os.getpid())
    assert found.get("PATH") == os.environ.get("PATH")
    assert locks.environment_of(2**22 + 1) is None  # above every process id


# -- keys


def test_secrets_are_for_their_owner_alone():
    good = [keys.Mode("keys", 0o700, True), keys.Mode("keys/log.key", 0o600, False), keys.Mode("x", None, False)]
    assert keys.judge_modes(good) == []
    found = keys.judge_modes([keys.Mode("keys", 0o750, True), keys.Mode("keys/log.key", 0o604, False)])
    assert [(one.severity, one.values["path"], one.values["right"]) for one in found] == [
        (PROBLEM, "keys", "700"),
        (PROBLEM, "keys/log.key", "600"),
    ]
    many = keys.judge_modes([keys.Mode(str(n), 0o777, False) for n in range(keys.SHOWN_MAX + 5)])
    assert many[-1].values == {"count": 5}


@pytest.mark.parametrize(
    ("look", "control", "others", "expected"),
    [
        (RegisterLook(1, (), 0, None, None), True, False, [(OK, "register.keys")]),
        (RegisterLook(0, (), 0, None, None), True, False, [(WARNING, "register.no_keys")]),
        (RegisterLook(0, (), 0, None, None), True, True, [(OK, "register.keys")]),
        (
            RegisterLook(1, (), 2, NOW_US - DAY_US, None), False, False,
            [(OK, "register.keys"), (OK, "register.waiting")],
        ),
        (
            RegisterLook(1, (), 2, NOW_US - DAY_US, None), True, False,
            [(OK, "register.keys"), (PROBLEM, "register.stuck")],
        ),
        (RegisterLook(1, (), 2, NOW_US - 1, None), True, False, [(OK, "register.keys")]),
    ],
)  # fmt: skip
def test_the_register(look, control, others, expected):
    assert codes(keys.judge_register(look, NOW_US, control_runs=control, others_may_call=others)) == expected


# -- providers


FILE, VARIABLE = CredentialReference("file", "keys/x"), CredentialReference("env", "X_KEY")
MISSING = CredentialError("it is not there", remedy="Put it there")


@pytest.mark.parametrize(
    ("reference", "error", "seen", "expected"),
    [
        (FILE, None, True, []),
        (FILE, MISSING, True, [(PROBLEM, "credential.missing")]),
        (VARIABLE, None, True, [(WARNING, "credential.environment")]),
        (VARIABLE, MISSING, True, [(PROBLEM, "credential.missing")]),
        (VARIABLE, MISSING, False, [(WARNING, "credential.unseen")]),
    ],
)
def test_credentials(reference, error, seen, expected):
    mode = 0o600 if reference is FILE else None
    assert codes(providers.judge_credential("d", reference, error, seen=seen, mode=mode)) == expected


def test_a_credential_that_its_group_may_read_is_used_with_a_warning():
    found = providers.judge_credential("d", FILE, None, seen=True, mode=0o640)
    assert codes(found) == [(WARNING, "credential.group")]


def deployment(**changes):
    base = {
        "name": "d",
        "model": "m",
        "provider": "p",
        "url": "https://host.example/v1",
        "dialect": "openai",
        "deployment_type": "openai-compatible",
        "facts": {},
        "upstream_model": "m",
    }
    return Deployment(**(base | changes))


def test_references_to_secrets_are_found_wherever_they_stand():
    assert list(providers.references_of(deployment())) == []
    assert list(providers.references_of(deployment(credential=FILE))) == [FILE]
    proxied = deployment(
        sign_in=BasicSignIn("u", FILE), egress_proxy=EgressProxy("http://proxy.example:3128", None, "u", VARIABLE)
    )
    assert list(providers.references_of(proxied)) == [FILE, VARIABLE]


def test_what_is_connected_to():
    def addresses(one):
        return [(reach.host, reach.port, reach.proxied) for reach in providers._reaches(Path("/srv"), one)]

    entra = EntraSignIn("t", "c", "s", "https://login.example", FILE)
    proxy = EgressProxy("https://proxy.example:3128", "keys/proxy.pem")
    assert addresses(deployment()) == [("host.example", 443, False)]
    assert addresses(deployment(url="http://127.0.0.1:8402/v1")) == [("127.0.0.1", 8402, False)]
    assert addresses(deployment(sign_in=entra)) == [("host.example", 443, False), ("login.example", 443, False)]
    assert addresses(deployment(sign_in=entra, egress_proxy=proxy)) == [("proxy.example", 3128, True)]
    (reach,) = providers._reaches(Path("/srv"), deployment(egress_proxy=proxy))
    assert reach.tls == ClientTls("proxy.example", "/srv/keys/proxy.pem")


@pytest.mark.parametrize(
    ("failure", "proxied", "runs", "expected"),
    [
        (None, False, True, (OK, "connect.ok")),
        (None, True, True, (OK, "connect.proxy")),
        ("refused", False, True, (PROBLEM, "connect.failed")),
        ("refused", False, False, (OK, "connect.engine")),
    ],
)
def test_endpoints(failure, proxied, runs, expected):
    reach = providers.Reach("127.0.0.1", 8402, None, (), proxied)
    reached = [providers.Reached(("d",), reach, failure)]
    assert codes(providers.judge_reached(reached, runs=runs, engines=frozenset({"127.0.0.1:8402"}))) == [expected]
    other = reach._replace(port=1)
    found = providers.judge_reached([providers.Reached(("d",), other, "refused")], runs=False, engines=frozenset())
    assert codes(found) == [(PROBLEM, "connect.failed")]


# -- declarations


def catalogue(*, organisations=(), facts=None):
    return Catalogue(
        boundary=None,
        organisations=tuple(organisations),
        sites=(),
        providers=(Provider("p", "P", {}),),
        models=(),
        deployments=(deployment(facts=facts or {}),),
    )


def test_mistakes_are_problems_and_not_more_than_can_be_read():
    found = declared.judge_mistakes([Mistake("a.toml", "key", "is wrong", "Right it"), Mistake("b.toml", "", "x", "y")])
    assert [one.values["where"] for one in found] == ["a.toml: key", "b.toml"]
    many = declared.judge_mistakes([Mistake(str(n), "", "x", "y") for n in range(100)])
    assert len(many) == declared.SHOWN_MAX + 1
    assert codes(many)[-1] == (PROBLEM, "declared.mistakes_more")


@pytest.mark.parametrize(
    ("on_disk", "in_force", "control", "expected"),
    [
        ("a", "a", True, (OK, "declared.in_force")),
        ("a", "b", True, (WARNING, "declared.changed_running")),
        ("a", "b", False, (WARNING, "declared.changed")),
        ("a", None, True, (PROBLEM, "declared.nothing_in_force")),
    ],
)
def test_whether_what_is_declared_is_in_force(on_disk, in_force, control, expected):
    assert codes([declared.judge_in_force(on_disk, in_force, control_runs=control)]) == [expected]


def test_stops_and_monitor_mode_are_said():
    found = declared.judge_stops([Stop("provider", "p", "", NOW_US, None, 1)])
    assert codes(found) == [(WARNING, "declared.stop")]
    watching = Organisation("w", "W", mode="monitor", monitor_until=NOW_US + 1)
    found = declared.judge_monitoring(catalogue(organisations=[Organisation("o", "O"), watching]), NOW_US)
    assert [(one.code, one.values["organisation"]) for one in found] == [("declared.monitor", "w")]
    assert declared.judge_monitoring(catalogue(organisations=[watching]), NOW_US + 1) == []


def test_exemptions_are_said_with_their_ends():
    def exemption(name, until):
        return Exemption(name, "cd" * 32, "o", ("p.one", "p.two"), ("c",), until, "w", "c", deployments=("d",))

    day_us = 86_400_000_000
    three = (exemption("far", NOW_US + 60 * day_us), exemption("over", NOW_US), exemption("near", NOW_US + day_us))
    with_them = msgspec.structs.replace(catalogue(), exemptions=three)
    found = declared.judge_exemptions(with_them, NOW_US)
    assert [(one.severity, one.code, one.values["name"]) for one in found] == [
        (WARNING, "declared.exemption_ended", "over"),
        (WARNING, "declared.exemption_ends", "near"),
        (OK, "declared.exemption", "far"),
    ]
    for one in found:
        for language in ("en", "ja"):
            assert one.values["name"] in told(one, language)[0]


@pytest.mark.parametrize(
    ("persons", "needed", "expected"),
    [
        ("abc", 2, []),  # one of them asks
        ("abcx", 3, []),
        ("abc", 3, [2]),
        ("ab", 2, [1]),
        ("abx", 2, []),
        ("x", 1, [0]),
        ("", 1, [0]),
    ],
)
def test_a_rule_that_nobody_could_meet_is_a_problem(persons, needed, expected):
    rules = [ApprovalRule(act=act, approvers=("a", "b", "c"), needed=needed) for act in ("person.enrol", "stop.lift")]
    found = declared.judge_approvals(rules, frozenset(persons))
    assert [one.values["can"] for one in found] == expected * 2
    assert {one.severity for one in found} <= {PROBLEM}


def test_rules_that_leave_enrolling_open_are_said():
    rules = [ApprovalRule(act="stop.lift", approvers=("a",), needed=1)]
    assert codes(declared.judge_approvals(rules, frozenset("ax"))) == [(WARNING, "declared.approval_open")]
    assert declared.judge_approvals([], frozenset()) == []


def test_facts_that_end_soon_come_in_their_order():
    def fact(expires):
        return Fact(("JP",), Grade.DECLARED, expires=expires)

    soon = NOW_US + declared.ENDS_SOON_US
    facts = {"a": fact(soon - 1), "b": fact(NOW_US), "c": fact(soon), "d": fact(None), "e": fact(NOW_US + 1)}
    found = declared.judge_ends(catalogue(facts=facts), NOW_US)
    assert [(one.code, one.values["fact"]) for one in found] == [
        ("declared.fact_ended", "b"),
        ("declared.fact_ends", "e"),
        ("declared.fact_ends", "a"),
    ]


def test_a_git_lock_that_was_left_behind():
    path = Path("declarations/.git/index.lock")
    assert declared.judge_git_lock(path, declared.GIT_LOCK_S_MAX - 1) == []
    assert codes(declared.judge_git_lock(path, declared.GIT_LOCK_S_MAX)) == [(PROBLEM, "declared.git_lock")]


def test_a_git_lock_that_goes_while_it_is_looked_at(tmp_path, monkeypatch):
    assert declared.look_at_git_lock(tmp_path) == []
    monkeypatch.setattr(declared, "git_lock", lambda tree: tree / "gone")
    assert declared.look_at_git_lock(tmp_path) == []


# -- settings


def test_workers_and_cores():
    assert smells.judge_workers(2, 2) == []
    assert codes(smells.judge_workers(3, 2)) == [(WARNING, "smell.workers")]


@pytest.mark.parametrize(
    ("drain", "idle_ms", "expected"),
    [
        (10, [60_000], []),  # the defaults
        (10, [60_000, 90_000], [(WARNING, "smell.drain")]),
        (5, [60_000], [(WARNING, "smell.drain")]),
        (90, [90_000], []),
        (0, [], []),
    ],
)
def test_draining(drain, idle_ms, expected):
    assert codes(smells.judge_drain(drain, idle_ms)) == expected


def test_the_defaults_of_draining_are_what_they_are_taken_for():
    assert GatewaySettings().drain_seconds == 10
    assert deployment().idle_timeout_ms == 60_000


@pytest.mark.parametrize(
    ("gateway", "control", "expected"),
    [
        ({}, {}, []),
        ({"listen": "192.0.2.1:443"}, {}, [(OK, "smell.public")]),
        ({"listen": "192.0.2.1:443", "tls_client_ca_file": "ca.pem"}, {}, []),
        ({}, {"public_host": "console.example.jp"}, []),
        ({}, {"public_host": "console.example.jp:80"}, [(WARNING, "smell.plain_console")]),
        ({}, {"public_host": "localhost:8443"}, [(WARNING, "smell.loopback_console")]),
    ],
)
def test_addresses(gateway, control, expected):
    settings = Settings(InstallationSettings("o"), GatewaySettings(**gateway), ControlSettings(**control))
    assert codes(smells.judge_addresses(settings)) == expected


def test_certificates_end():
    now = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
    day = datetime.timedelta(days=1)
    for ends, expected in ((now, [PROBLEM]), (now + day, [WARNING]), (now + smells.ENDS_SOON, [])):
        assert [one.severity for one in smells.judge_certificate("c.pem", ends, now)] == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o750, []), (0o700, []), (0o755, [(WARNING, "smell.readable")]), (0o777, [(PROBLEM, "smell.writable")])],
)
def test_the_directory(mode, expected):
    assert codes(smells.judge_directory(mode)) == expected


# -- versions


def test_requirements_are_read_as_pyproject_writes_them():
    texts = ["cryptography>=45", "cedarpy==4.12.2; extra == 'server'", 'h11>=0.16; extra == "server"', "odd ~= 1"]
    assert versions.requirements_in(texts) == [
        ("cryptography", False, "45", ""),
        ("cedarpy", True, "4.12.2", "server"),
        ("h11", False, "0.16", "server"),
    ]


@pytest.mark.parametrize(
    ("version", "exactly", "wanted", "good"),
    [
        ("45.0.1", False, "45", True),
        ("44.9", False, "45", False),
        ("2026.10.1", False, "2026.10", True),
        ("0.9.0", False, "0.16", False),
        ("1.0rc1", False, "1.0", True),
        ("4.12.2", True, "4.12.2", True),
        ("4.12.3", True, "4.12.2", False),
        ("odd", False, "1", False),
    ],
)
def test_versions_are_compared_as_numbers(version, exactly, wanted, good):
    requirement = versions.Requirement("x", exactly, wanted, "")
    found = versions.judge_packages([requirement], {"x": version}, frozenset())
    assert codes(found) == ([] if good else [(PROBLEM, "version.package")])


def test_only_what_is_used_must_be_there():
    wanted = [versions.Requirement("x", False, "1", "engine")]
    assert versions.judge_packages(wanted, {"x": None}, frozenset({"server"})) == []
    assert codes(versions.judge_packages(wanted, {"x": None}, frozenset({"engine"}))) == [(PROBLEM, "version.lacks")]


def test_what_runs_is_what_is_installed():
    assert codes(versions.judge_running("0.0.1")) == [(WARNING, "version.running")]
    assert versions.judge_running(None) == []
    assert versions.judge_running(__version__) == []


def test_the_kernels_status_is_read_where_it_stands():
    """struct timex: modes and padding, four longs, then status (adjtimex(2), 64 bits)."""
    assert struct.calcsize("@I4xqqqq") == clock._STATUS.start


# -- kept content


def test_content_that_is_past_its_end_is_told_and_nothing_is_written(tmp_path):
    directory = DataDirectory(tmp_path)
    directory.keys.mkdir()

    def looked(end_us, *, control_runs):
        return content.look_at_content(directory, end_us, control_runs=control_runs)

    assert looked(NOW_US, control_runs=False) == []
    files = ContentFiles(directory.content, directory.content_keys)
    for end_us in (NOW_US, NOW_US + 1_000_000):
        files.write(Content("default", IdSource().new(NOW_US), "r", end_us, b"asked", b"answered"))
    before = sorted(tmp_path.rglob("*"))
    assert codes(looked(NOW_US + content.OVERDUE_US - 1, control_runs=True)) == [(OK, "content.ends")]
    (waits,) = looked(NOW_US + content.OVERDUE_US, control_runs=False)
    assert waits == warning("content.waits", count=1, end_at=NOW_US)
    (overdue,) = looked(NOW_US + 10 * content.OVERDUE_US, control_runs=True)
    assert overdue == problem("content.overdue", count=2, end_at=NOW_US)
    assert sorted(tmp_path.rglob("*")) == before


# -- facts


OBSERVED = ObservedFact(("JP",), Grade.OBSERVED, "management-api: sku Standard", method="management-api")
LOWERED = ObservedFact(("JP", "US", "anywhere"), Grade.DECLARED, "sku GlobalStandard", method="m", lowered=True)


def with_facts(**of):
    made = [support_decide.deployment(name, processing=fact) for name, fact in of.items()]
    return support_decide.catalogue(*made)


def test_facts_that_probes_contradict_are_problems_and_those_confirmed_are_counted():
    found = facts.judge_facts(with_facts(tokyo=OBSERVED, osaka=LOWERED, nagoya=support_decide.declared("JP")))
    assert codes(found) == [(PROBLEM, "facts.lowered"), (OK, "facts.confirmed")]
    assert found[0].values["value"] == "anywhere"
    assert found[1].values["count"] == 1
    assert facts.judge_facts(with_facts(nagoya=support_decide.declared("JP"))) == []
    many = facts.judge_facts(with_facts(**{f"d{number}": LOWERED for number in range(facts.SHOWN_MAX + 2)}))
    assert codes(many)[-1] == (PROBLEM, "facts.lowered_more")


@pytest.mark.parametrize(
    ("word", "runs", "expected"),
    [
        (None, True, []),
        ({"at": None}, True, []),
        ({"at": NOW_US - 60_000_000, "failed": []}, True, [(OK, "facts.round")]),
        ({"at": NOW_US - 60_000_000, "failed": 5}, True, [(OK, "facts.round")]),
        ({"at": NOW_US - DAY_US, "failed": []}, True, [(WARNING, "facts.late")]),
        ({"at": NOW_US - DAY_US, "failed": []}, False, [(OK, "facts.round")]),
        (
            {"at": NOW_US, "failed": [["tokyo", "networks", "no file"], "odd"]},
            True,
            [(OK, "facts.round"), (WARNING, "facts.failed")],
        ),
    ],
)
def test_rounds_that_fail_or_stay_away_are_told(word, runs, expected):
    found = facts.judge_rounds(ProbeSettings(), word, NOW_US, control_runs=runs, needed=True)
    assert codes(found) == expected


@pytest.mark.parametrize(("needed", "expected"), [(True, (WARNING, "facts.disabled")), (False, (OK, "facts.off"))])
def test_probes_that_are_off_are_a_warning_where_something_is_declared_for_them(needed, expected):
    off = ProbeSettings(enabled=False)
    assert codes(facts.judge_rounds(off, None, NOW_US, control_runs=True, needed=needed)) == [expected]


def test_the_age_of_a_registrys_file_is_told():
    today = datetime.date(2026, 11, 25)

    def published(date):
        return Published("apnic", datetime.date.fromisoformat(date), "ab" * 32)

    assert codes(facts.judge_registry([], today)) == [(OK, "facts.no_registry")]
    found = facts.judge_registry([published("2026-11-24"), published("2026-09-01")], today)
    assert codes(found) == [(OK, "facts.registry"), (WARNING, "facts.registry_old")]
    assert [one.values["days"] for one in found] == [1, 85]
    assert codes(facts.judge_registry([published("2026-11-26")], today)) == [(OK, "facts.registry")]
    assert codes(facts.judge_registry([published("2099-01-01")], today)) == [(WARNING, "facts.registry_ahead")]


def test_a_note_that_is_damaged_and_a_file_that_is_no_registrys_do_not_end_the_look(tmp_path):
    directory = DataDirectory(tmp_path)
    directory.run.mkdir()
    directory.registry.mkdir()
    for note in ("[]", "{", "\x00"):
        directory.probes_state.write_text(note)
        (directory.registry / "x").write_text("nonsense")
        looked = facts.look_at_facts(directory, ProbeSettings(), None, NOW_US, control_runs=True)
        assert codes(looked) == [(PROBLEM, "facts.registry_wrong")]


# -- witnesses


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (WitnessStatus("w", size=9), (OK, "witness.cosigned")),
        (WitnessStatus("w", behind_since_us=NOW_US - 60_000_000), (OK, "witness.cosigned")),
        (WitnessStatus("w", behind_since_us=NOW_US - 62_000_000, trouble="no route"), (WARNING, "witness.behind")),
        (WitnessStatus("w", size=9, alarm="it has seen more"), (PROBLEM, "witness.alarm")),
    ],
)
def test_witnesses_that_lag_or_raise_an_alarm_are_told(status, expected):
    assert codes(witnesses.judge_witnesses([status], NOW_US)) == [expected]


def test_a_witness_whose_record_is_gone_is_a_problem_and_nothing_is_written(tmp_path):
    class Still:
        def now_us(self):
            return NOW_US

    directory = DataDirectory(tmp_path)
    directory.keys.mkdir()
    assert witnesses.look_at_witnesses(directory, "a/b/c", ["w"], Still()) == []
    open_witness(directory, "a/b/c", Still())
    assert codes(witnesses.look_at_witnesses(directory, "a/b/c", ["w"], Still())) == [(OK, "witness.signs")]
    (directory.witness / ("0" * 64)).touch()
    directory.witness_key.rename(tmp_path / "key")
    assert codes(witnesses.look_at_witnesses(directory, "a/b/c", ["w"], Still())) == [(PROBLEM, "witness.record")]
    (tmp_path / "key").rename(directory.witness_key)
    (directory.witness / "format").unlink()
    before = sorted(tmp_path.rglob("*"))
    assert codes(witnesses.look_at_witnesses(directory, "a/b/c", ["w"], Still())) == [(PROBLEM, "witness.record")]
    assert sorted(tmp_path.rglob("*")) == before
