import re

from sekisho.gateway.metrics import METRICS, Metrics, label

IN_FLIGHT = "sekisho_requests_in_flight"  # counted by itself


def test_the_text_is_well_formed_and_holds_every_metric_once():
    metrics = Metrics()
    metrics.statuses[200] += 2
    metrics.attempts["complete"] += 1
    metrics.faults["not_permitted"] += 1
    metrics.attempt_errors["upstream_tls"] += 1
    metrics.authentications["token"] += 3
    metrics.token_fetches["fetched"] += 4
    measured_elsewhere = [name for name, (kind, _) in METRICS.items() if kind == "gauge" and name != IN_FLIGHT]
    gauges = dict.fromkeys(measured_elsewhere, 0.25)
    gauges["sekisho_issuer_keys_age_seconds"] = {label("issuer", 'https://idp.example/"a\\b\n'): 12.5}
    text = metrics.render(gauges).decode()
    assert re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) == list(METRICS)
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{[a-z]+="([^"\\]|\\["\\n])*"\})? [0-9.]+', line) for line in samples)
    assert 'sekisho_requests_total{status="200"} 2' in samples
    assert 'sekisho_authentications_total{kind="token"} 3' in samples
    assert 'sekisho_token_fetches_total{result="fetched"} 4' in samples
    assert r'sekisho_issuer_keys_age_seconds{issuer="https://idp.example/\"a\\b\n"} 12.5' in samples
    assert text.endswith("\n")
