"""Recorded traffic to plan over: proposed snapshots, and strategies for requests and for what is declared."""

from hypothesis import strategies as st

from sekisho.assurance.plan import Planner
from sekisho.assurance.replay import Replay
from sekisho.assurance.traffic import Traffic
from sekisho.catalog.interfaces import PolicyText
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.log_files import LogFiles
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.policy.interfaces import PrincipalInput
from sekisho.snapshot.build import build_snapshot
from sekisho.snapshot.store import SnapshotStore
from support_decide import CLASSES, LABELS, PlainInspector, declared, deployment

EVER = (0, 2**53)


def snapshot(tmp_path, catalogued, *policies, now_us=0):
    store = SnapshotStore(tmp_path / "proposed", make_inspector=PlainInspector, make_decider=CedarDecider)
    texts = tuple(PolicyText(f"policies/{number}.cedar", text) for number, text in enumerate(policies))
    built = build_snapshot(
        catalogued, texts, inspection_rules=b'{"rules":[]}', labels=LABELS, compile_policies=compile_policies
    )
    return store.assemble(built, now_us)


def policy(name, rule):
    return f'@id("{name}") @title("{name}") @title_ja("{name}")\n{rule};'


def read(log, planner, window=EVER, **options):
    files = LogFiles(log.ledger)
    traffic = Traffic(planner, *window, **options)
    for first, entries in files.entries(0, read_checkpoint(files.checkpoint()).size):
        traffic.see(first, entries)
    return planner.plan


def planned(log, proposed, window=EVER, **options):
    return read(log, Planner(Replay(log.snapshot), Replay(proposed, **options)), window)


requests = st.lists(
    st.fixed_dictionaries(
        {
            "data_class": st.sampled_from(CLASSES),
            "residency": st.sampled_from([("JP",), ("JP", "US"), ("SG",), ()]),
            "labels_raw": st.sampled_from([(), ("jp.my_number",), ("opaque",), ("secret.api_key",)]),
            "model": st.sampled_from(["m", "n"]),
            "principal": st.builds(
                PrincipalInput,
                st.sampled_from(["key-1", "key-2"]),
                st.sampled_from(["default", "other"]),
                st.sampled_from([("caller",), ()]),
            ),
            "redactable": st.booleans(),
        }
    ),
    min_size=1,
    max_size=12,
)
places = st.sampled_from([("JP",), ("US",), ("JP", "US"), ("SG",), ("unknown",)])
deployments = st.lists(
    st.builds(
        lambda name, model, processing, storage: deployment(
            name, model, processing=declared(*processing), storage=declared(*storage)
        ),
        st.sampled_from(["tokyo", "faraway", "osaka"]),
        st.sampled_from(["m", "n"]),
        places,
        places,
    ),
    max_size=3,
    unique_by=lambda one: one.name,
)
rules = st.lists(
    st.sampled_from(
        [
            'forbid (principal in Organisation::"other", action, resource)',
            "forbid (principal, action, resource) when { context.class_rank >= 2 }",
            'permit (principal in Organisation::"other", action in [Action::"sendRaw"], resource)',
        ]
    ),
    max_size=2,
    unique=True,
)


def write(log, asked):
    for one in asked:
        log.request(labels_redacted=() if one["redactable"] else one["labels_raw"], **one)
    log.publish()
