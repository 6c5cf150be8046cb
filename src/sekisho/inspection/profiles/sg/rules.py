"""Singapore's identifiers: their forms, and the words (English, Chinese, Malay) beside which a number is one."""

from typing import Final

from sekisho.inspection.profiles.universal import ALONE, END, GROUP, OTHER_NUMBERS, RUN
from sekisho.inspection.rule_data import RuleData

_NRIC_WORDS: Final = [
    *("nric", "identity card", "identification number", "identity number", "national id", "singpass", "ic no", "ic:"),
    *("i/c", "ic number", "fin no", "fin:", "fin number", "foreign identification", "work permit", "work pass"),
    *("employment pass", "birth cert", "cpf account", "cpf no", "身份证", "身分证", "外国人身份", "kad pengenalan"),
    *("nombor pengenalan", "no. pengenalan"),
]
_UEN_WORDS: Final = [
    *("uen", "unique entity", "company reg", "co. reg", "co reg", "business reg", "registration no", "acra", "csn"),
    *("registration number", "gst reg", "gst no", "pte ltd", "pte. ltd", "cpf submission", "公司注册", "注册号"),
    *("nombor pendaftaran",),
]
_PASSPORT_WORDS: Final = ["passport", "travel document", "护照", "pasport"]
_PHONE_WORDS: Final = [
    *("phone", "tel:", "tel.", "tel ", "mobile", "hp no", "hp:", "h/p", "whatsapp", "sms ", "contact", "fax"),
    *("call ", "call:", "telefon", "bimbit", "hubungi", "电话", "手机", "联络", "传真"),
]
_POSTAL_WORDS: Final = [
    *("postal code", "postal_code", "postalcode", "postcode", "zip code", "address", "blk", "邮编", "邮区", "邮政编码"),
    *("地址", "poskod", "alamat"),
]
_BANK_WORDS: Final = [
    *("account no", "account number", "account_number", "account:", "bank account", "bank_account", "acct", "a/c"),
    *("dbs", "posb", "ocbc", "uob", "giro", "bank code", "银行", "账户", "账号", "户口", "akaun"),
]
# What six digits also are, and what follows a number that counts something.
_ONE_TIME: Final = ["otp", "one-time", "one time", "verification code", "pin ", "pin:", "验证码"]
_NO_COUNT: Final = (
    "(?! ?(?i:people|persons|residents|cases|units|users|customers|dollars|sgd|workers|jobs|households|%|人|元))"
)


def rules() -> list[RuleData]:
    return [*_nric(), *_uen(), _passport(), _phone(), *_postal_code(), *_bank_account()]


def _nric() -> list[RuleData]:
    """NRIC and FIN, which are CPF account numbers, and numbers of birth certificates and work passes, as well."""
    label, check = "sg.nric", "nric"
    return [
        RuleData(  # S1234567D: letter of series and check letter are strong enough
            label=label,
            sign=RUN,
            reach=36,
            anchor="[^A-Za-z0-9][STFGM][0-9]{7}[A-Z][^A-Za-z0-9]",
            shape="(?<![A-Za-z0-9])[STFGM][0-9]{7}[A-Z](?![A-Za-z0-9])",
            check=check,
        ),
        RuleData(  # s1234567d, S-1234567-D, S 123 4567 D
            label=label,
            sign=f"(?:{RUN}|{GROUP})",
            reach=36,
            anchor="[^A-Za-z0-9][STFGMstfgm][ -]?[0-9]{3,4}[ -]?[0-9]{3,4}[ -]?[A-Za-z][^A-Za-z0-9]",
            shape="(?<![A-Za-z0-9])[STFGMstfgm][ -]?[0-9]{3,4}[ -]?[0-9]{3,4}[ -]?[A-Za-z](?![A-Za-z0-9])",
            check=check,
            context=_NRIC_WORDS,
            unless=list(OTHER_NUMBERS),
        ),
    ]


def _uen() -> list[RuleData]:
    label, check = "sg.uen", "uen"
    return [
        RuleData(  # 53498049W, 196800306E
            label=label,
            sign=RUN,
            reach=36,
            anchor="[^A-Za-z0-9](?:[0-9]{8}|(?:18|19|20)[0-9]{7})[A-Za-z][^A-Za-z0-9]",
            shape="(?<![A-Za-z0-9])(?<![0-9][.,])(?:[0-9]{8}|(?:18|19|20)[0-9]{7})[A-Za-z](?![A-Za-z0-9])",
            check=check,
            context=_UEN_WORDS,
            unless=list(OTHER_NUMBERS),
        ),
        RuleData(  # T08GA0028A: century, year, a type that there is, and the check letter
            label=label,
            anchor="[^A-Za-z0-9][RST][0-9]{2}[A-Z]{2}[0-9]{4}[A-Z][^A-Za-z0-9]",
            shape="(?<![A-Za-z0-9])[RST][0-9]{2}[A-Z]{2}[0-9]{4}[A-Z](?![A-Za-z0-9])",
            check=check,
        ),
    ]


def _passport() -> RuleData:
    """K1234567E. Its check letter is not known; letters that begin an NRIC or FIN don't begin it."""
    return RuleData(
        label="sg.passport",
        sign=RUN,
        reach=36,
        anchor="[^A-Za-z0-9][A-EH-LN-RU-Za-eh-ln-ru-z][0-9]{7}[A-Za-z][^A-Za-z0-9]",
        shape="(?<![A-Za-z0-9])[A-EH-LN-RU-Za-eh-ln-ru-z][0-9]{7}[A-Za-z](?![A-Za-z0-9])",
        check="varied_digits",
        context=_PASSPORT_WORDS,
        unless=list(OTHER_NUMBERS),
    )


def _phone() -> RuleData:
    """9123 4567, 65 6123 4567, 1800-123-4567; with + before, `universal` finds it."""
    number = "(?:\\(?(?:00)?65\\)?[ -]?)?[3689][0-9]{3}[ -]?[0-9]{4}|1?800[ -]?[0-9]{3}[ -]?[0-9]{4}"
    return RuleData(
        label="phone",
        sign=f"(?:{RUN}|{GROUP})",
        reach=36,
        anchor=f"[^0-9](?:{number})[^0-9]",
        shape=f"(?<![A-Za-z0-9+])(?<![0-9][.,-])(?<!\\+65[ -])(?:{number}){END}",
        check="singapore_phone",
        context=_PHONE_WORDS,
        unless=list(OTHER_NUMBERS),
    )


def _postal_code() -> list[RuleData]:
    label, check = "sg.postal_code", "singapore_postal_code"
    return [
        RuleData(  # Singapore 238801, S(238801)
            label=label,
            anchor="(?:(?i:singapore|s'pore)|新加坡|[^A-Za-z0-9]S)[ (]{0,2}[0-9]{6}[^0-9]",
            shape="(?:(?:(?i:singapore|s'pore)|新加坡)[ (]{0,2}|(?<![A-Za-z0-9])S ?\\()"
            f"(?P<value>[0-9]{{6}}){END}{_NO_COUNT}",
            check=check,
        ),
        RuleData(
            label=label,
            sign=RUN,
            reach=36,
            anchor="[^0-9][0-9]{6}[^0-9]",
            shape=f"(?:{ALONE}|(?<=[^A-Za-z0-9]S))[0-9]{{6}}{END}{_NO_COUNT}",
            check=check,
            context=_POSTAL_WORDS,
            unless=[*OTHER_NUMBERS, *_ONE_TIME, "tel", "phone", "fax", "ext", "account"],
        ),
    ]


def _bank_account() -> list[RuleData]:
    """DBS 001-123456-7, POSB 084-10239-5, OCBC 550-108955-001, UOB 910-203-101-2, and the same without hyphens."""
    label = "sg.bank_account"
    grouped = (
        "[0-9]{3}[ -](?:[0-9]{5,6}[ -][0-9]|[0-9]{6}[ -][0-9]{3}|[0-9]{3}[ -][0-9]{3}[ -][0-9]|[0-9][ -][0-9]{6}"
        "|[0-9]{7})"
    )
    coded = "(?:7171|7339|7375|7144|9496|7232|9548)[ -][0-9]{3}[ -][0-9]{7,10}"  # bank, branch, account
    unless = [*OTHER_NUMBERS, "tel", "phone", "mobile", "whatsapp", "contact"]
    return [
        RuleData(
            label=label,
            sign=GROUP,
            reach=36,
            anchor=f"[^0-9](?:{coded}|{grouped})[^0-9]",
            shape=f"{ALONE}(?:{coded}|{grouped}){END}",
            check="varied_digits",
            context=_BANK_WORDS,
            unless=unless,
        ),
        RuleData(
            label=label,
            sign=RUN,
            reach=36,
            anchor="[^0-9][0-9]{9,12}[^0-9]",
            shape=f"{ALONE}[0-9]{{9,12}}{END}{_NO_COUNT}",
            check="varied_digits",
            context=_BANK_WORDS,
            unless=unless,
        ),
    ]
