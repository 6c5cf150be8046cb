"""Addresses: a municipality, a town, and the numbers of block and house.

In Japanese `[prefecture][city, ward, town, village][town name]1丁目2番3号` or `1-2-3`, with what it takes to a flat;
in English the other way round, `1-2-3 Kasumigaseki, Chiyoda-ku, Tokyo`. A municipality without a house number is no
address. Written as bytes of UTF-8: both engines see bytes.
"""

from typing import Final

from sekisho.inspection.profiles.jp.places import PREFECTURES
from sekisho.inspection.rule_data import RuleData

# One letter of a place's name: kanji with the marks 々 and 〇, hiragana, katakana.
_KANJI: Final = "(?:[\\xe4-\\xe9][\\x80-\\xbf]{2}|\\xe3[\\x90-\\xbf][\\x80-\\xbf]|\\xe3\\x80[\\x85-\\x87])"
_KATAKANA: Final = "\\xe3(?:\\x82[\\xa1-\\xbf]|\\x83[\\x80-\\xbe])"
_LETTER: Final = f"(?:{_KANJI}|\\xe3[\\x81-\\x83][\\x80-\\xbf])"
# A town's name may hold hiragana, but a particle (は が に で と, を も や, or 約) before the number makes a sentence.
_NO_PARTICLE: Final = "(?<!\\xe3\\x81[\\xaf\\x8c\\xab\\xa7\\xa8])(?<!\\xe3\\x82[\\x92\\x82\\x84])(?<!約)"
_DIVISION: Final = "(?:市|区|町|村|郡)"
_NUMERAL: Final = "(?:一|二|三|四|五|六|七|八|九|十|百)"  # a class would be one of bytes
_NUMBER: Final = f"(?:[0-9]{{1,4}}|{_NUMERAL}{{1,4}})"
_AFTER: Final = 96  # bytes behind the first digit: the rest of the block, and a building
# What numbers beside a place are when they are no house: counts, dates, times.
_COUNTED: Final = "(?! ?(?:人|名|年|月|日|時|分|秒|回|件|個|歳|台|社|円|万|億|%|倍|点|km|m|cm|kg))"


def address_rules() -> list[RuleData]:
    return [_japanese(), _romanised()]


def _japanese() -> RuleData:
    prefecture = "(?:" + "|".join(PREFECTURES) + ")"
    # Without a prefecture the municipality begins with kanji or katakana: hiragana before it is the sentence's.
    municipality = f"(?:{prefecture} ?{_LETTER}{{0,10}}|(?:{_KANJI}|{_KATAKANA}){{1,7}})"
    town = f"{_LETTER}{{0,14}}? ?(?=[0-9]|{_NUMERAL}){_NO_PARTICLE}"
    chome = f"{_NUMBER}(?:丁目|番地|番|号|条|線)(?:(?:の| |-)?{_NUMBER}(?:丁目|番地|番|号|条)?){{0,4}}"
    hyphens = "[0-9]{1,4}(?:(?:-|の)[0-9]{1,4}){1,4}(?:号|番地)?"
    room = f"(?: ?(?:{_LETTER}|[A-Za-z]){{1,16}} ?[0-9]{{1,4}}(?:号室|号|階|F)?|(?:-| )[0-9]{{1,4}}号室)?"
    return RuleData(
        label="jp.address",
        anchor=f"{_DIVISION}{_LETTER}{{0,12}}(?:[0-9]|{_NUMERAL}(?:丁目|番))",
        before=municipality,
        shape=f"{_DIVISION}{town}(?:{chome}|{hyphens}){_COUNTED}{room}",
        lead=48,
        tail=_AFTER,
    )


def _romanised() -> RuleData:
    block = "[0-9]{1,4}(?:-[0-9]{1,4}){1,3}"
    name = "[A-Z][A-Za-z'-]{1,24}"
    unit = "(?:ku|shi|gun|machi|cho|mura|son|City|Ward)"
    return RuleData(
        label="jp.address",
        anchor=f"[0-9]-[0-9]{{1,4}},? {name}",
        shape=f"(?<![0-9A-Za-z-]){block},? (?:{name},? ){{1,3}}?{name}(?:-| ){unit}\\b"
        f"(?:,? {name}(?:-(?:ku|shi|to|fu|ken|machi))?){{0,3}}(?: [0-9]{{3}}-[0-9]{{4}})?"
        f"|(?<![0-9A-Za-z-]){block},? (?:{name},? )?{name}-{unit}\\b(?:,? {name}(?:-(?:ku|shi|to|fu|ken))?){{0,3}}",
        lead=12,
        tail=_AFTER,
    )
