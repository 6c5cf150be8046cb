"""The verifier in one HTML file: what `sekisho verify --html` prints. Opened from a disk, it asks nothing of a network.

It is the console's own code (static/*.js), put into one module in the order of its imports, with a content policy that
permits this one script and this one style by their hashes and forbids every connection. English and Japanese stand in
it side by side. Needs none of the server's dependencies.
"""

import base64
import hashlib
import re
from importlib import resources
from typing import Final

from sekisho import __version__
from sekisho.console.html import Html, document, join, tag
from sekisho.ledger.verify import CONTENT_FIELDS

MODULES: Final = ("notes.js", "tlog-policy.js", "verify.js", "receipt.js", "verifier.js")  # imported before importing
_IMPORT: Final = re.compile(r'^import \{[^}]*\} from "\./[a-z-]+\.js";\n', re.MULTILINE)
_STYLE: Final = """
:root:lang(en) .ja, :root:lang(ja) .en { display: none; }
main { max-width: 56rem; }
textarea { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .82rem; }
input[type=file] { border: 0; padding: .3rem 0; background: none; }
button[hidden] { display: none; }
summary { cursor: pointer; font-weight: 600; }
"""
_FIELD_WORDS: Final = {
    "received": ("What was received (the request's body)", "受信した内容（リクエスト本文）"),
    "sent": ("What was sent on", "送信した内容"),
    "answer": ("The answer", "応答"),
}


def verifier_page() -> str:
    """The whole page."""
    script = _inline("\n".join(_IMPORT.sub("", _static(name)) for name in MODULES))
    style = _inline(_static("console.css") + _STYLE)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_content_policy(script, style)),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "Sekisho: verify a receipt / 受領証の検証"),
        tag("style", style),
    )
    header = tag(
        "header",
        tag("span", "Sekisho ", tag("span", "関所", lang="ja"), class_="brand"),
        tag(
            "div",
            tag("button", "日本語", type="button", class_="quiet", lang="ja", data_language="ja"),
            tag("button", "English", type="button", class_="quiet", lang="en", data_language="en"),
            class_="aside",
        ),
    )
    title = tag("h1", _both("Verify a receipt", "受領証の検証"))
    body = tag(
        "body", header, tag("main", title, _verifier()), tag("footer", f"Sekisho {__version__}"),
        tag("script", script, type="module"),
    )  # fmt: skip
    return document("en", head, body)


def _verifier() -> Html:
    """What receipt.js brings to life."""
    return tag(
        "section",
        tag("noscript", tag("p", _both(
            "No scripts run here. Run: sekisho verify receipt.json --trust site.vkey",
            "スクリプトが無効です。sekisho verify receipt.json --trust site.vkey を実行してください。",
        ), class_="problem")),
        tag("div", *_chooser("receipt-file", "Receipt", "受領証"), tag("p", _both(
            "Choose a receipt file or drop it here. This page reads it in your browser and connects to nothing:"
            " it works without a network.",
            "受領証ファイルを選ぶか、ここにドロップしてください。ブラウザーの中だけで読み取り、どこにも接続しません。"
            "ネットワークがなくても動作します。",
        ), class_="help"), class_="card drop"),
        tag("div", *_text("site-key", "Site key to pin (site.vkey)", "固定する拠点の鍵（site.vkey）"), tag("p", _both(
            "From the site itself or from a source that you trust, never from whoever gave you the receipt."
            " Without it, nobody says whose receipt it is.",
            "拠点自身または信頼できる経路から入手してください。受領証の提示者から受け取った鍵では確認になりません。"
            "鍵がなければ、発行者は確認できません。",
        ), class_="help"), class_="card"),
        tag("details", tag("summary", _both("Policy: which logs, how many witnesses", "ポリシー：台帳と証人の条件")),
            *_text("policy", "Policy (C2SP tlog-policy)", "ポリシー（C2SP tlog-policy）", rows=8), class_="card"),
        tag("details", tag("summary", _both("Compare content", "内容の照合")),
            [_content(field) for field in CONTENT_FIELDS], class_="card"),
        tag("div", class_="verification", aria_live="polite"),
        class_="verifier", data_facts=True,
    )  # fmt: skip


def _chooser(identity: str, english: str, japanese: str) -> tuple[Html, Html]:
    return (
        tag("label", _both(english, japanese), for_=identity),
        tag("input", id=identity, type="file", class_=identity),
    )


def _text(identity: str, english: str, japanese: str, rows: int = 2) -> tuple[Html, ...]:
    """A text field, and a file that may fill it."""
    field = tag("textarea", id=identity, class_=identity, rows=rows, spellcheck="false", autocomplete="off", wrap="off")
    chooser = tag("input", type="file", class_=f"{identity}-file", aria_labelledby=f"{identity}-label")
    return tag("label", _both(english, japanese), for_=identity, id=f"{identity}-label"), field, chooser


def _content(field: str) -> Html:
    english, japanese = _FIELD_WORDS[field]
    chooser = tag("input", id=f"content-{field}", type="file", class_="content-file", data_field=field)
    return join(tag("label", _both(english, japanese), for_=f"content-{field}"), chooser)


def _both(english: str, japanese: str) -> Html:
    return join(tag("span", english, class_="en", lang="en"), tag("span", japanese, class_="ja", lang="ja"))


def _content_policy(script: str, style: str) -> str:
    """Nothing but our own script and style, by their hashes; `default-src 'none'` forbids every connection."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _inline(text: str) -> Html:
    """Raw text for a script or style element: these are not escaped, so what would end one may not stand in it."""
    if re.search(r"</(script|style)|<!--|\r", text, re.IGNORECASE):
        raise ValueError("a script or style of the page would end its own element")
    return Html(text)


def _static(name: str) -> str:
    return resources.files("sekisho.console").joinpath("static", name).read_text(encoding="utf-8")
