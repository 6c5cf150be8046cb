"""Jurisdictions: ISO 3166-1 alpha-2, the officially assigned codes."""

from typing import Final

from sekisho.catalog.interfaces import ANYWHERE, UNKNOWN

ISO_3166_1: Final = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
    KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT
    MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG
    UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()  # noqa: SIM905 - 249 quoted strings would be harder to compare with the standard
)

EUROPEAN_UNION: Final = tuple(
    sorted("AT BE BG HR CY CZ DE DK EE ES FI FR GR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split())  # noqa: SIM905
)


def anywhere(jurisdictions: tuple[str, ...]) -> tuple[str, ...]:
    """What "may be anywhere" means where `jurisdictions` are enumerated: all of them and `anywhere`, sorted."""
    return tuple(sorted({*jurisdictions, ANYWHERE}))


def shortened(names: tuple[str, ...]) -> tuple[str, ...]:
    """A set of jurisdictions for people: anywhere is every one there is, and the word says it better than the list."""
    return (ANYWHERE,) if ANYWHERE in names else names


def expanded(values: tuple[str, ...], jurisdictions: tuple[str, ...]) -> tuple[str, ...]:
    """A set of jurisdictions as it stands in a fact: sorted, `anywhere` written out, `unknown` alone."""
    if UNKNOWN in values:
        return (UNKNOWN,)
    return anywhere(jurisdictions) if ANYWHERE in values else tuple(sorted(set(values)))
