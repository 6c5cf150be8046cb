"""Singapore's part of the corpus: values that are right by their own rules, and what only looks like one."""

import random
import string
from collections.abc import Callable

from sekisho.inspection.profiles.sg import checks

Random = random.Random
Made = tuple[Callable[[Random], str], list[str]]


def _digits(rng: Random, count: int) -> str:
    return "".join(rng.choices(string.digits, k=count))


def _checked(body: str, check: Callable[[bytes], bool], rng: Random, *, right: bool = True) -> str:
    """`body` with a check letter behind it, the right one or any other."""
    letters = [letter for letter in string.ascii_uppercase if check((body + letter).encode()) == right]
    return body + rng.choice(letters) if letters else ""


def nric(rng: Random) -> str:
    return _checked(rng.choice("STFGM") + _digits(rng, 7), checks.is_nric, rng)


def _wrong_nric(rng: Random) -> str:
    return _checked(rng.choice("STFGM") + _digits(rng, 7), checks.is_nric, rng, right=False)


def _uen_body(rng: Random) -> str:
    year = str(rng.randint(1970, 2025))
    kind = rng.choice(["GA", "SS", "LL", "FC", "MC"])
    return rng.choice(
        ["5" + _digits(rng, 7), year + _digits(rng, 5), f"{rng.choice('TS')}{year[2:]}{kind}{_digits(rng, 4)}"]
    )


def uen(rng: Random) -> str:
    """A few bodies have a check "letter" that is a digit, and some none at all: those are drawn again."""
    while not (value := _checked(_uen_body(rng), checks.is_uen, rng)):
        pass
    return value


def phone(rng: Random) -> str:
    first, last = rng.choice("6889") + _digits(rng, 3), _digits(rng, 4)
    first = first.replace("99", "98")  # 99 begins emergency numbers
    return rng.choice([f"{first} {last}", f"{first}{last}", f"+65 {first} {last}", f"65 {first}-{last}"])


def postal_code(rng: Random) -> str:
    sector = rng.choice([number for number in range(1, 83) if number != 74])
    return f"{sector:02}{_digits(rng, 4)}"


def account(rng: Random) -> str:
    cut = rng.choice([(3, 6, 1), (3, 5, 1), (3, 6, 3), (3, 3, 3, 1), (10,), (9,)])
    return "-".join(_digits(rng, size) for size in cut)


POSITIVES: dict[str, Made] = {
    "sg.nric": (
        nric,
        ["NRIC {}", "Her FIN is {}.", "身份证号码：{}", "Nombor kad pengenalan: {}", '{{"nric": "{}"}}', "{}"],
    ),
    "sg.uen": (uen, ["UEN {}", "Example Pte Ltd (co. reg. no. {})", "GST reg no: {}", "公司注册号 {}"]),
    "sg.passport": (
        lambda rng: rng.choice("KE") + _digits(rng, 7) + rng.choice(string.ascii_uppercase),
        ["Passport no. {}", "护照号码 {}", "Nombor pasport: {}"],
    ),
    "sg.postal_code": (postal_code, ["10 Example Road, Singapore {}", "Postal code: {}", "邮编 {}", "Blk 12 S({})"]),
    "sg.bank_account": (account, ["DBS account no. {}", "Please pay to POSB {}", "我的户口是 {}", "OCBC {} by GIRO"]),
    "phone": (phone, ["Mobile: {}", "Call {} after five.", "电话 {}", "Hubungi {}"]),
}
NEGATIVES: list[Made] = [
    (_wrong_nric, ["NRIC {} (typo)", "part {}", "lot {}"]),
    (lambda rng: rng.choice("ABCDHJKLPQRUVWXYZ") + _digits(rng, 7) + "D", ["part {}", "serial no {}", "locker {}"]),
    (lambda rng: _checked("5" + _digits(rng, 7), checks.is_uen, rng, right=False), ["UEN {} (typo)", "item {}"]),
    (lambda rng: rng.choice("89") + _digits(rng, 7), ["order no {}", "revenue {} dollars", "build number {}", "{}"]),
    (lambda rng: _digits(rng, 6), ["OTP {}", "your verification code is {}", "total {}", "ticket {}", "验证码 {}"]),
    (lambda rng: _digits(rng, 10), ["tracking number {}", "DBS invoice number {}", "ref {}", "unix time {}"]),
    (lambda rng: f"{rng.randint(100, 999)}000", ["Singapore {} people", "in Singapore {} households", "{} SGD"]),
    (lambda rng: f"T{_digits(rng, 2)}ZZ{_digits(rng, 4)}B", ["model {}", "part {}"]),
    (lambda rng: f"2026{rng.randint(10, 12)}{rng.randint(10, 28)}", ["call on {}", "due {}", "log {}"]),
    (lambda rng: "".join(rng.choices("0123456789abcdef", k=rng.choice([9, 32, 40]))), ["commit {}", "sha {}"]),
    (lambda rng: f"{rng.randint(1, 999)},{_digits(rng, 3)},{_digits(rng, 3)}", ["total S${}", "SGD {}"]),
]
