"""The demonstration's words and declarations, in English and Japanese."""

from typing import Final

NATION: Final = "jp"
MY_NUMBER: Final = "1234 5678 9018"  # the usual example: its check digit is right

STORY: Final[dict[str, dict[str, str]]] = {
    "title": {
        "en": "Sekisho 関所: a governed request crosses, and leaves a receipt that an outsider verifies.",
        "ja": "Sekisho 関所: 統制されたリクエストが通過し、第三者が検証できる受領証を残します。",
    },
    "made": {
        "en": "An installation was made. Its log is {origin}.\n"
        "   Two deployments are declared: manual-local, processing in Japan; and global-manual, declared as an Azure\n"
        "   GlobalStandard type, which may process anywhere. Both are served by local engine processes on this\n"
        "   machine: the second is a stand-in, no cloud is contacted. The engines quote Sekisho's own documentation.",
        "ja": "環境を作成しました。ログは {origin} です。\n"
        "   二つの配備先を宣言しました。国内で処理する manual-local と、AzureのGlobalStandard型（世界のどこでも処理されうる）\n"
        "   として宣言した global-manual です。どちらもこのマシン上のローカルプロセスが応答します。後者は代役であり、\n"
        "   クラウドには接続しません。エンジンはSekisho自身の文書を引用して答えます。",
    },
    "running": {
        "en": "Gateway, control and two engines are running as processes of their own.",
        "ja": "ゲートウェイ、コントロール、二つのエンジンが、それぞれ別のプロセスとして動いています。",
    },
    "question": {"en": "What is a receipt?", "ja": "受領証とは何ですか？"},
    "home": {
        "en": "Answered in the country, streaming, through the official openai client.\n"
        "   asked     {question}\n   answer    {answer}\n   from      {deployment}, JP\n   receipt   {receipt}",
        "ja": "国内で、ストリーミングで、公式のopenaiクライアントを通じて応答がありました。\n"
        "   質問      {question}\n   回答      {answer}\n   応答元    {deployment}、JP\n   受領証    {receipt}",
    },
    "my_number": {
        "en": "My number (個人番号) is {number}. How do I revoke an API key?",
        "ja": "私の個人番号は {number} です。APIキーを失効させるには？",
    },
    "redacted": {
        "en": "A My Number was redacted before the request left: the demonstration's own policy forbids raw ones, even\n"
        "   at home. The receipt proves the redaction and does not hold the number.\n"
        "   asked     {text}\n   labels    {labels}\n   receipt   {receipt}",
        "ja": "マイナンバーは送信前に伏せられました。このデモのポリシーは国内でも生のマイナンバーを禁じています。\n"
        "   受領証は伏せたことを証明し、番号そのものは含みません。\n"
        "   質問      {text}\n   ラベル    {labels}\n   受領証    {receipt}",
    },
    "abroad": {
        "en": "A public question may cross to {deployment}. The same policies permitted it. Receipt {receipt}",
        "ja": "公開区分の質問は {deployment} へ通過できます。同じポリシーが許可しました。受領証 {receipt}",
    },
    "refused": {
        "en": "The same question, marked confidential, was refused. Nothing was sent. The caller is told why:\n   {reasons}",
        "ja": "同じ質問を「機密」として送ると拒否され、何も送信されません。理由は呼び出し元に伝えられます。\n   {reasons}",
    },
    "verified": {
        "en": "All {count} receipts verify offline with the site's pinned key, the refusal's too.",
        "ja": "{count}件の受領証すべてが、固定した拠点の公開鍵によりオフラインで検証できました。拒否の受領証も含みます。",
    },
    "tampered": {
        "en": "A copy with one changed byte fails: {verdict}",
        "ja": "1バイトだけ変えた写しは検証に失敗します: {verdict}",
    },
    "held": {"en": "Every step held.", "ja": "すべての手順が成り立ちました。"},
    "go_on": {
        "en": "Go on by hand:\n  base_url  {url}\n  api_key   {key}\n  models    manual, manual-global\n"
        "  control   {control}\nCtrl-C ends the demonstration and removes its files.",
        "ja": "続きは手元でどうぞ:\n  base_url  {url}\n  api_key   {key}\n  モデル    manual、manual-global\n"
        "  コントロール {control}\nCtrl-Cで終了し、ファイルを削除します。",
    },
}

ENGINE: Final = """
[engines.abroad]
kind = "manual"
listen = "{abroad}"
model = "manual-global"
"""

POLICY: Final = """\
// The demonstration's own policies, beside the pack jp-residency.

@id("demonstration.my-number")
@title("A My Number never leaves in readable form, not even to a deployment at home")
@title_ja("マイナンバーは、国内の配備先であっても読み取れる形では送信されません")
forbid (principal, action, resource)
when { context.labels.contains(Label::"jp.my_number") };

@id("demonstration.confidential-at-home")
@title("Confidential data are processed at home only, and this deployment may process anywhere in the world")
@title_ja("機密データは国内でのみ処理できますが、この配備先は世界のどこでも処理する可能性があります")
forbid (principal, action, resource)
when { context.protected }
unless { context.home.containsAll(resource.processing) };
"""

# Over the starter tree: the built-in model at a site in Tokyo, and the same behind a deployment type that may process
# anywhere. `{manual}` and `{abroad}` are the engines' addresses.
DECLARATIONS: Final[dict[str, str]] = {
    "organisations/default.toml": """\
title = "The demonstration's organisation"
# Requests may go anywhere that the rules permit for their class and what they hold.
default_residency = ["anywhere"]
""",
    "sites/tokyo.toml": 'title = "Tokyo"\njurisdiction = "JP"\n',
    "models/manual-global.toml": 'title = "The manual, served by a deployment that may process anywhere"\n',
    "providers/azure.toml": 'title = "Azure (a local stand-in)"\n',
    "deployments/manual-local.toml": """\
model = "manual"
provider = "local"
site = "tokyo"
type = "engine"
url = "http://{manual}/v1"
networks = ["127.0.0.0/8"]

[facts]
storage = ["JP"]
""",
    "deployments/global-manual.toml": """\
# Declared as what it stands in for: an Azure OpenAI resource in Japan East of type GlobalStandard, whose inference
# may run in any region. The type decides, not the region. The endpoint is an engine process on this machine.
model = "manual-global"
provider = "azure"
type = "GlobalStandard"
region = "japaneast"
url = "http://{abroad}/v1"
networks = ["127.0.0.0/8"]

[facts]
storage = ["JP"]
""",
}
