import re

from sekisho.gateway.metrics import METRICS, Metrics

IN_FLIGHT = "sekisho_requests_in_flight"  # counted by itself


def test_the_text_is_well_formed_and_holds_every_metric_once():
    metrics = Metrics()
    metrics.statuses[200] += 2
    metrics.attempts["complete"] += 1
    metrics.faults["not_permitted"] += 1
    metrics.attempt_errors["upstream_tls"] += 1
    measured_elsewhere = [name for name, (kind, _) in METRICS.items() if kind == "gauge" and name != IN_FLIGHT]
    text = metrics.render(dict.fromkeys(measured_elsewhere, 0.25)).decode()
    assert re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) == list(METRICS)
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"\\]*"\})? [0-9.]+', line) for line in samples)
    assert 'sekisho_requests_total{status="200"} 2' in samples
    assert text.endswith("\n")
