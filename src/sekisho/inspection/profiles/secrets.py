"""Credentials: keys and tokens whose issuers gave them a form, private keys, JSON Web Tokens, connection strings.

Forms are those that issuers publish, or that their own secret scanners look for.
"""

from typing import Final

from sekisho.inspection.rule_data import LEAD_MAX, TAIL_MAX, RuleData

API_KEY: Final = "secret.api_key"
CONNECTION: Final = "secret.connection_string"
PRIVATE_KEY: Final = "secret.private_key"
SECRET_TAIL: Final = 4_096  # tokens are header-sized; nobody issues longer ones
_SIGN: Final = 6  # characters after a prefix that are a sign of a token: a text with `task-list` is not looked at again
_NOT_IN_WORD: Final = "(?<![A-Za-z0-9])"

# (prefix, characters that follow, how many at least, whether more may follow)
_TOKENS: Final = (
    # models
    ("sk-", "[A-Za-z0-9_-]", 20, True),  # OpenAI, Anthropic, DeepSeek, OpenRouter …
    ("hf_", "[A-Za-z0-9]", 30, True),
    ("gsk_", "[A-Za-z0-9]", 40, True),
    ("xai-", "[A-Za-z0-9]", 40, True),
    ("r8_", "[A-Za-z0-9]", 37, False),
    ("pplx-", "[A-Za-z0-9]", 40, True),
    ("nvapi-", "[A-Za-z0-9_-]", 60, True),
    ("fw_", "[A-Za-z0-9]", 22, True),
    ("csk-", "[a-z0-9]", 40, True),
    ("lsv2_(?:pt|sk)_", "[a-f0-9_]", 32, True),
    ("dapi", "[a-f0-9]", 32, True),
    # clouds
    ("(?:AKIA|ASIA|ABIA|ACCA)", "[A-Z2-7]", 16, False),
    ("AIza", "[A-Za-z0-9_-]", 35, False),
    ("ya29\\.", "[A-Za-z0-9_-]", 20, True),
    ("GOCSPX-", "[A-Za-z0-9_-]", 28, False),
    ("LTAI", "[A-Za-z0-9]", 16, True),
    ("d(?:op|oo|or)_v1_", "[a-f0-9]", 64, False),
    ("hv[sbr]\\.", "[A-Za-z0-9_-]", 24, True),
    ("pul-", "[a-f0-9]", 40, False),
    ("gl(?:c|sa)_", "[A-Za-z0-9_]", 32, True),
    ("dp\\.(?:pt|st|ct|sa)\\.", "[A-Za-z0-9_.-]", 40, True),
    ("sbp_", "[a-f0-9]", 40, False),
    # version control and packages
    ("gh[pousr]_", "[A-Za-z0-9]", 36, True),
    ("github_pat_", "[A-Za-z0-9_]", 22, True),
    ("gl(?:pat|ptt|dt|rt|cbt|soat|ft|agent|imt)-", "[A-Za-z0-9_-]", 20, True),
    ("ATATT3", "[A-Za-z0-9_=-]", 60, True),
    ("ATBB", "[A-Za-z0-9]", 28, True),
    ("npm_", "[A-Za-z0-9]", 36, False),
    ("pypi-", "[A-Za-z0-9_-]", 50, True),
    ("rubygems_", "[a-f0-9]", 48, False),
    ("dckr_(?:pat|oat)_", "[A-Za-z0-9_-]", 27, True),
    # services
    ("xox[abeoprs]-", "[A-Za-z0-9-]", 10, True),
    ("xapp-", "[A-Za-z0-9-]", 20, True),
    ("[rs]k_(?:live|test)_", "[A-Za-z0-9]", 16, True),
    ("whsec_", "[A-Za-z0-9+/=]", 32, True),
    ("SG\\.", "[A-Za-z0-9_.-]", 60, True),
    ("shp(?:at|ca|pa|ss)_", "[a-fA-F0-9]", 32, False),
    ("sq0(?:atp|csp)-", "[A-Za-z0-9_-]", 22, True),
    ("lin_api_", "[A-Za-z0-9]", 40, False),
    ("NRAK-", "[A-Z0-9]", 27, False),
    ("sntr(?:ys|yu)_", "[A-Za-z0-9+/=_-]", 40, True),
    ("AGE-SECRET-KEY-1", "[A-Z0-9]", 58, False),
    # a signature, in which nothing tells the service
    ("[0-9]{8,10}:AA", "[A-Za-z0-9_-]", 33, False),
)
_SCHEMES: Final = (
    "postgres(?:ql)?|mysqlx?|mariadb|mongodb(?:\\+srv)?|rediss?|valkeys?|amqps?|mssql|sqlserver|oracle|clickhouses?"
    "|cassandra|couchbases?|neo4j(?:\\+s)?|bolt|nats|kafka|s?ftps?|ssh|smtps?|imaps?|ldaps?|https?"
)


def rules() -> list[RuleData]:
    return [*_tokens(), *_azure(), _json_web_token(), _named(), *_connection_strings(), _private_key()]


def _tokens() -> list[RuleData]:
    found = []
    for prefix, characters, count, more in _TOKENS:
        end = f"{{{count},{SECRET_TAIL}}}" if more else f"{{{count}}}(?![A-Za-z0-9])"
        shape = f"{_NOT_IN_WORD}{prefix}{characters}{end}"
        anchor = f"{prefix}{characters}{{{count}}}"
        check = "varied" if characters in ("[A-Z2-7]", "[A-Z0-9]") else "token"
        # Of a prefix over and over before a repeat of dozens hyperscan's time is quadratic when it is to tell only
        # whether there is one; telling every place ends with the budget.
        sign = f"{prefix}{characters}{{{_SIGN}}}"
        found.append(RuleData(label=API_KEY, sign=sign, anchor=anchor, shape=shape, check=check, tail=SECRET_TAIL))
    return found


def _azure() -> list[RuleData]:
    """Keys that Azure marks in their middle: an Entra application's secret, and a service's key of 84 characters."""
    forms = (
        ("[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", "[0-9]Q~", "[A-Za-z0-9_~.-]", 31, 4),
        ("[A-Za-z0-9]{52}JQQJ9[A-Za-z0-9]{27}", "JQQJ9", "[A-Za-z0-9]", 27, 53),
    )
    return [
        RuleData(
            label=API_KEY,
            sign=f"{mark}{characters}{{{_SIGN}}}",
            anchor=f"{mark}{characters}{{{count}}}",
            shape=f"{_NOT_IN_WORD}{shape}(?![A-Za-z0-9])",
            check="secret",
            lead=lead,
        )
        for shape, mark, characters, count, lead in forms
    ]


def _json_web_token() -> RuleData:
    """RFC 7519: header and claims start with `{"`."""
    part = "[A-Za-z0-9_-]"
    return RuleData(
        label=API_KEY,
        sign=f"eyJ{part}{{{_SIGN}}}",
        anchor=f"eyJ{part}{{10}}",
        shape=f"{_NOT_IN_WORD}eyJ{part}{{10,400}}\\.eyJ{part}{{6,{SECRET_TAIL}}}(?:\\.{part}{{0,1024}})?",
        check="secret",
        tail=SECRET_TAIL + 1_024,
    )


def _named() -> RuleData:
    """Keys without a form of their own (Azure, AWS secrets, bearer tokens), by the name before them."""
    named = (
        "(?i:api[_ -]?key|access[_ -]?key|subscription[_ -]?key|account[_ -]?key|secret[_ -]?key|bearer"
        "|client[_ -]?secret|(?:auth|access|refresh)[_ -]?token)"
    )
    between = "[\"'\\\\]{0,3}[ \\t]{0,3}[:=]?[ \\t\"'\\\\]{0,5}"
    return RuleData(
        label=API_KEY,
        sign=f"{named}{between}[A-Za-z0-9+/_~.:-]{{{_SIGN}}}",
        anchor=f"{named}{between}[A-Za-z0-9+/_~.:-]{{32}}",
        shape=f"{named}{between}(?P<value>[A-Za-z0-9+/_~.:-]{{32,{SECRET_TAIL}}}={{0,2}})",
        check="secret",
        tail=SECRET_TAIL,
    )


def _connection_strings() -> list[RuleData]:
    """`scheme://user:password@host`, and the `Password=…;` of ODBC, ADO.NET and JDBC; Azure's keys have names."""
    word = "(?i:password|pwd)"
    return [
        RuleData(
            label=CONNECTION,
            anchor="://[^\\s:@/\\x1e\"']{0,64}:[^\\s@/\\x1e\"']",
            before=f"(?<![A-Za-z0-9])(?i:{_SCHEMES})",
            shape="://(?P<value>[^\\s:@/\\x1e\"']{0,64}:[^\\s@/\\x1e\"']{1,64}@[A-Za-z0-9.-]{1,253})",
            check="password",
            lead=16,
            tail=320,
        ),
        RuleData(
            label=CONNECTION,
            anchor=f"[;?&]{word}=[^\\s;&\"'\\x1e]",
            before="(?i:server|data source|host|jdbc:[a-z]{2,12}:)[=/][^\\x1e\\n\"']{1,200}",
            shape=f"[;?&]{word}=(?P<value>[^\\s;&\"'\\x1e]{{1,64}})",
            check="password",
            lead=LEAD_MAX,
            tail=64,
        ),
    ]


def _private_key() -> RuleData:
    head = "-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    end = "-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    # Cut off before its END line it is still a key: then everything that looks like its base64 goes.
    cut = "(?:(?:\\\\[nr]|[ \\t\\r\\n])*[A-Za-z0-9+/=]{16,})*"
    return RuleData(
        label=PRIVATE_KEY,
        anchor=head,
        shape=f"{head}(?:(?:(?!-----)[\\s\\S]){{0,16384}}{end}|{cut})",
        check="always",
        tail=TAIL_MAX,
    )
