"""Japanese identifiers: their forms, and the words beside which a bare number is one."""

from typing import Final

from sekisho.inspection.profiles.injection import phrase_rule
from sekisho.inspection.profiles.jp.addresses import address_rules
from sekisho.inspection.profiles.jp.places import PREFECTURES
from sekisho.inspection.profiles.universal import ALONE as _ALONE
from sekisho.inspection.profiles.universal import END as _END
from sekisho.inspection.profiles.universal import GROUP, OTHER_NUMBERS, ROW_AFTER, ROW_BEFORE, RUN
from sekisho.inspection.rule_data import RuleData

_MY_NUMBER_WORDS: Final = [
    *("個人番号", "マイナンバー", "マイ・ナンバー", "マイ ナンバー", "番号法", "通知カード", "特定個人情報"),
    *("my number", "my_number", "my-number", "mynumber", "individual number", "individual_number", "kojin bango"),
    *("kojin_bango", "social security and tax number"),
]
_PHONE_WORDS: Final = [
    *("電話", "でんわ", "携帯", "連絡先", "ファックス", "ファクス", "tel", "phone", "fax", "mobile", "call"),
]
_CORPORATE_WORDS: Final = [
    *("法人番号", "会社法人等番号", "適格請求書", "インボイス", "登録番号", "corporate number", "corporate_number"),
    *("houjin bangou", "hojin bango", "houjin_bangou", "invoice registration"),
]
_LICENCE_WORDS: Final = [
    *("免許証", "免許番号", "運転免許", "driver's licen", "drivers licen", "driver licen", "driving licen"),
    *("drivers_licen", "driver_licen"),
]
_PASSPORT_WORDS: Final = ["旅券", "パスポート", "passport"]
_RESIDENCE_WORDS: Final = [
    *(
        "在留カード",
        "在留資格",
        "在留番号",
        "在留カ-ド",
        "特別永住者",
        "外国人登録",
        "residence card",
        "residence_card",
    ),
    *("zairyu", "residence status", "alien registration"),
]
_INSURER_WORDS: Final = ["保険者番号", "保険証", "insurer number", "insurer no", "insurer_number", "insurer's number"]
_PENSION_WORDS: Final = [
    *("基礎年金番号", "年金番号", "年金手帳", "基礎年金", "pension number", "pension_number", "pension no"),
]
_BANK_WORDS: Final = [
    *(
        "口座番号",
        "口座",
        "振込先",
        "振込み先",
        "銀行",
        "信用金庫",
        "信金",
        "信用組合",
        "農協",
        "支店",
        "account number",
    ),
    *("account no", "bank account", "account_number", "bank_account", "acct", "branch", "furikomi"),
]
_ACCOUNT_WORDS: Final = [
    *("口座番号", "口座", "振込先", "振込み先", "account number", "account no", "bank account", "account_number"),
    *("bank_account", "acct no"),
]
_YUCHO_WORDS: Final = ["ゆうちょ", "郵貯", "郵便貯金", "記号番号", "記号・番号", "yucho", "japan post bank"]
_POSTAL_WORDS: Final = [
    *(
        "郵便番号",
        "住所",
        "所在地",
        "宛先",
        "送付先",
        "お届け先",
        "現住",
        "本社",
        "居住地",
        "postal code",
        "postal_code",
    ),
    *("postcode", "zip", "address", "japan", *PREFECTURES),
]
# What a number is when one of these words, and no other of ours, stands before it.
_OTHER_NUMBERS: Final = [
    *OTHER_NUMBERS,
    *(
        "注文番号",
        "受注番号",
        "発注番号",
        "伝票番号",
        "問い合わせ番号",
        "問合せ番号",
        "お問い合わせ番号",
        "受付番号",
        "管理番号",
    ),
    *(
        "追跡番号",
        "配送番号",
        "送り状番号",
        "製造番号",
        "シリアル番号",
        "商品コード",
        "商品番号",
        "品番",
        "型番",
        "会員番号",
    ),
    *(
        "案件番号",
        "請求書番号",
        "見積番号",
        "整理番号",
        "予約番号",
        "取引番号",
        "稟議番号",
        "チケット番号",
        "jan",
    ),
    *("金額", "価格", "合計", "残高"),
]
_GAP: Final = "[ \\t\\r\\n._/-]{1,3}"
_NO_AMOUNT: Final = "(?! ?(?:円|万|億|千|件|個|ドル|名|人|yen|jpy))"
_ANY_GAP: Final = "(?:[ \\t:=.#\"',]|、)"


def rules() -> list[RuleData]:
    return [
        *_my_number(),
        *_corporate_number(),
        *_cards_and_passport(),
        *_insurance(),
        *_bank_account(),
        *_phone(),
        *_postal_code(),
        *address_rules(),
        *_injection(),
    ]


def _my_number() -> list[RuleData]:
    label, check = "jp.my_number", "my_number"
    return [
        RuleData(
            label=label,
            sign=RUN,
            reach=36,
            anchor="[^0-9][0-9]{12}[^0-9]",
            shape="(?<![0-9])[0-9]{12}(?![0-9])",
            check=check,
            context=_MY_NUMBER_WORDS,
        ),
        RuleData(  # 1234-5678-9018: the printed form, strong enough by itself
            label=label,
            sign=GROUP,
            reach=36,
            anchor="[^0-9][0-9]{4}-[0-9]{4}-[0-9]{4}[^0-9]",
            shape="(?<![0-9])(?<![0-9]{4}-)[0-9]{4}-[0-9]{4}-[0-9]{4}(?![0-9]|-[0-9]{4})",
            check=check,
        ),
        RuleData(
            label=label,
            sign=GROUP,
            reach=36,
            anchor=f"{ROW_BEFORE}[0-9]{{4}} [0-9]{{4}} [0-9]{{4}}{ROW_AFTER}",
            shape="(?<![0-9])(?<![0-9]{4}[ -])[0-9]{4} [0-9]{4} [0-9]{4}(?![0-9]|[ -][0-9]{4})",
            check=check,
        ),
        RuleData(
            label=label,
            sign=GROUP,
            reach=36,
            anchor=f"[^0-9][0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}[^0-9]",
            shape=f"(?<![0-9])[0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}(?![0-9])",
            check=check,
            context=_MY_NUMBER_WORDS,
        ),
        RuleData(  # digit by digit
            label=label,
            anchor="[^0-9](?:[0-9][ -]){11}[0-9][^0-9]",
            shape="(?<![0-9])(?<![0-9][ -])(?:[0-9][ -]){11}[0-9](?![0-9]|[ -][0-9])",
            check=check,
            context=_MY_NUMBER_WORDS,
        ),
    ]


def _corporate_number() -> list[RuleData]:
    grouped = "[0-9][ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}"
    return [
        RuleData(  # a registered issuer of invoices: T and the corporate number (a person's own number too)
            label="jp.invoice_number",
            anchor=f"T[ -]?(?:[0-9]{{13}}|{grouped})[^0-9]",
            shape=f"(?<![A-Za-z0-9])T[ -]?(?:[0-9]{{13}}|{grouped})(?![0-9A-Za-z])",
            check="corporate_number",
        ),
        RuleData(
            label="jp.corporate_number",
            anchor=f"[^0-9](?:[0-9]{{13}}|{grouped})[^0-9]",
            shape=f"{_ALONE}(?:[0-9]{{13}}|{grouped}){_END}",
            check="corporate_number",
            context=_CORPORATE_WORDS,
            unless=_OTHER_NUMBERS,
        ),
    ]


def _cards_and_passport() -> list[RuleData]:
    return [
        RuleData(
            label="jp.drivers_licence",
            sign=RUN,
            reach=36,
            anchor="[^0-9][0-9]{12}[^0-9]",
            shape=f"{_ALONE}[0-9]{{12}}{_END}",
            check="drivers_licence",
            context=_LICENCE_WORDS,
            unless=_OTHER_NUMBERS,
        ),
        RuleData(
            label="jp.passport",
            sign=RUN,
            reach=36,
            anchor="[^A-Za-z0-9][A-Za-z]{2} ?[0-9]{7}[^0-9]",
            shape="(?<![A-Za-z0-9])[A-Za-z]{2} ?[0-9]{7}(?![A-Za-z0-9]|[.,-][0-9])",
            check="varied_digits",
            context=_PASSPORT_WORDS,
            unless=_OTHER_NUMBERS,
        ),
        RuleData(
            label="jp.residence_card",
            sign=RUN,
            reach=36,
            anchor="[^A-Za-z0-9][A-Za-z]{2}[ -]?[0-9]{8}[ -]?[A-Za-z]{2}[^A-Za-z0-9]",
            shape="(?<![A-Za-z0-9])[A-Za-z]{2}[ -]?[0-9]{8}[ -]?[A-Za-z]{2}(?![A-Za-z0-9])",
            check="varied_digits",
            context=_RESIDENCE_WORDS,
            unless=_OTHER_NUMBERS,
        ),
    ]


def _insurance() -> list[RuleData]:
    return [
        RuleData(
            label="jp.insurer_number",
            sign=RUN,
            reach=36,
            anchor="[^0-9](?:[0-9]{6}|[0-9]{8})[^0-9]",
            shape=f"{_ALONE}(?:[0-9]{{8}}|[0-9]{{6}}){_END}{_NO_AMOUNT}",
            check="insurer_number",
            context=_INSURER_WORDS,
            unless=_OTHER_NUMBERS,
        ),
        RuleData(
            label="jp.pension_number",
            sign=RUN,
            reach=36,
            anchor="[^0-9][0-9]{4}[ -]?[0-9]{6}[^0-9]",
            shape=f"{_ALONE}[0-9]{{4}}[ -]?[0-9]{{6}}{_END}",
            check="varied_digits",
            context=_PENSION_WORDS,
            unless=_OTHER_NUMBERS,
        ),
    ]


def _bank_account() -> list[RuleData]:
    label = "jp.bank_account"
    kind = "(?:普通|当座|貯蓄|\\(普\\)|\\(当\\))(?:預金|貯金)?(?:口座)?(?:口座番号|番号)?(?: ?(?i:no)\\.?)?"
    return [
        RuleData(  # 普通 1234567
            label=label,
            anchor="(?:普通|当座|貯蓄|\\(普\\)|\\(当\\)|ordinary|savings|checking)(?:.{0,32}[^0-9])?[0-9]{7}[^0-9]",
            shape=f"(?:{kind}|(?i:ordinary|savings|checking)(?: account)?(?: ?(?i:no|number)\\.?)?){_ANY_GAP}{{0,4}}"
            f"(?P<value>[0-9]{{7}}){_END}{_NO_AMOUNT}",
            check="varied_digits",
        ),
        RuleData(
            label=label,
            sign=RUN,
            reach=36,
            anchor="[^0-9][0-9]{7}[^0-9]",
            shape=f"{_ALONE}[0-9]{{7}}{_END}{_NO_AMOUNT}",
            check="varied_digits",
            context=_ACCOUNT_WORDS,
            unless=_OTHER_NUMBERS,
        ),
        RuleData(  # bank, branch, account
            label=label,
            sign=RUN,
            reach=36,
            anchor="[^0-9][0-9]{4}[ -][0-9]{3}[ -][0-9]{7}[^0-9]",
            shape=f"{_ALONE}[0-9]{{4}}[ -][0-9]{{3}}[ -][0-9]{{7}}{_END}",
            check="varied_digits",
            context=_BANK_WORDS,
            unless=_OTHER_NUMBERS,
        ),
        RuleData(  # 記号 14340 番号 12345671
            label=label,
            anchor="記号.{0,8}[01][0-9]{3}0[^0-9]",
            shape=f"記号{_ANY_GAP}{{0,3}}(?P<value>[01][0-9]{{3}}0(?:{_ANY_GAP}|-){{0,3}}(?:の)?番号{_ANY_GAP}{{0,3}}"
            f"[0-9]{{1,7}}1){_END}",
            check="varied_digits",
            tail=48,
        ),
        RuleData(  # 14340-12345671
            label=label,
            sign=GROUP,
            reach=36,
            anchor="[^0-9][01][0-9]{3}0[ -](?:[0-9][ -])?[0-9]{1,7}1[^0-9]",
            shape=f"{_ALONE}[01][0-9]{{3}}0[ -](?:[0-9][ -])?[0-9]{{1,7}}1{_END}",
            check="varied_digits",
            context=_YUCHO_WORDS,
            unless=_OTHER_NUMBERS,
        ),
    ]


def _phone() -> list[RuleData]:
    label, check = "phone", "domestic_phone"
    mobile = "0[5-9]0[ \\t\\r\\n()._/-]{0,3}[0-9]{4}[ \\t\\r\\n()._/-]{0,3}[0-9]{4}"
    fixed = "\\(?0[0-9]{1,4}[ ()-]{1,3}[0-9]{1,4}[ ()-]{1,3}[0-9]{3,4}"
    before = "(?:(?<![A-Za-z0-9])(?<![0-9][.,])(?<![0-9]-)|(?<=[Tt][Ee][Ll])|(?<=[Ff][Aa][Xx]))"
    return [
        RuleData(  # 09012345678, 090-1234-5678; 03-1234-5678, (0463)12-3456, 0120-123-456
            label=label,
            sign=f"(?:{RUN}|{GROUP})",
            reach=36,
            anchor=f"[^0-9](?:{mobile}|{fixed})[^0-9]",
            shape=f"{before}(?:{mobile}(?![0-9A-Za-z]|[.,][0-9])|{fixed}(?![0-9A-Za-z]|[.,-][0-9]))",
            check=check,
        ),
        RuleData(  # 0312345678: ten digits are too common to go by alone
            label=label,
            sign=RUN,
            reach=36,
            anchor="[^0-9]0[1-9][0-9]{8}[^0-9]",
            shape=f"{before}0[1-9][0-9]{{8}}(?![0-9A-Za-z]|[.,][0-9])",
            check=check,
            context=_PHONE_WORDS,
        ),
    ]


def _postal_code() -> list[RuleData]:
    label = "jp.postal_code"
    return [
        RuleData(
            label=label,
            anchor="〒[ :]{0,2}[0-9]{3}-?[0-9]{4}[^0-9]",
            shape="〒[ :]{0,2}(?P<value>[0-9]{3}-?[0-9]{4})(?![0-9])",
        ),
        RuleData(
            label=label,
            sign=GROUP,
            reach=36,
            anchor="[^0-9-][0-9]{3}-[0-9]{4}[^0-9-]",
            shape="(?<![0-9A-Za-z-])[0-9]{3}-[0-9]{4}(?![0-9A-Za-z-]|[.,][0-9])",
            context=_POSTAL_WORDS,
            unless=[*_OTHER_NUMBERS, "内線", "電話", "tel", "fax", "phone", "ext"],
        ),
    ]


def _injection() -> list[RuleData]:
    # A quantifier counts for one byte: words stand in groups.
    earlier = "(?:これまで|以前|前|今まで|上記|直前|すべて|全て|元|与えられた)(?:までの|の|)(?:すべての|全ての|)"
    instructions = "(?:システム|)(?:指示|命令|プロンプト|ルール|規則|制約|制限)(?:文|内容|)"
    told = "(?:そのまま|すべて|全て|)(?:表示|出力|教え|開示|見せ|公開|漏ら)"
    hidden = "(?:システム|初期|内部)(?:の|)(?:プロンプト|指示|命令)(?:文|内容|全文|)"
    phrases = (
        f"{earlier}{instructions}(?:は|を|)(?:すべて|全て|)(?:無視|忘れ|破棄|上書き|無効)",
        f"{hidden}(?:を|の全文を|の内容を){told}",
        "(?:あなた|君)は(?:今|これ)から(?:制限|制約|規則|ルール)(?:の|が|)(?:ない|なし|無い|解除)",
    )
    return [phrase_rule(phrase) for phrase in phrases]
