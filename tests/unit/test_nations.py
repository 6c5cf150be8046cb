"""Nothing outside packs, profiles and the nations' own files belongs to one nation.

A nation here is one that there is a starter for. What would name it: its code, its labels and packs, its domain, its
name, its currency, its time zone, its telephone code, words for its identifiers. No string of the program may, nor
anything in its TOML and Cedar, but for what is listed below, each with its reason. Docstrings and comments are free to
give examples. Languages are no nations: `title_ja` is for the console's second language.
"""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from sekisho.catalog.files import read_declarations
from sekisho.catalog.nations import default_nation, load_nation, nation_names
from sekisho.catalog.templates import write_declarations
from sekisho.inspection.profiles import PROFILES, profile_names, rules_of, universal
from sekisho.policy.packs import load_pack, pack_names

SOURCE = Path(__file__).parents[2] / "src" / "sekisho"
# Beside what follows from a nation's file; as regular expressions.
SAYS = {
    "jp": (
        r"\bJPN\b|\+81\b|\bJPY\b|(?i:\byen\b)|¥|円|\bJST\b|Asia/Tokyo|(?i:japan)|日本|(?i:tokyo|osaka)|\bKK\b",
        r"(?i:my[ _-]?number)|マイナンバー|個人番号|法人番号|旅券|〒|ISMAP|APPI\b",
    ),
    "sg": (
        r"\bSGP\b|\+65\b|\bSGD\b|Asia/Singapore|(?i:singapore)|新加坡|シンガポール|(?i:\bpte\b)",
        r"\b(?i:nric|uen)\b|\bFIN\b|PDPA|\bMAS\b",
    ),
}
# A language that the console speaks: the name of its constant and of its switch, and what is to be written in it.
LANGUAGE = re.compile(r"\AJAPANESE\Z|\A日本語\Z|\b(?:in|of|without) Japanese\b")
# Where a nation belongs: of each the directory or file, and why.
ITS_PLACES = {
    "policy/packs/": "packs",
    "inspection/profiles/jp/": "a profile",
    "inspection/profiles/sg/": "a profile",
    "catalog/nations/": "the nations' starter files",
    "catalog/provider_templates/plamo.toml": "a Japanese provider's facts",
    "catalog/provider_templates/sakura.toml": "a Japanese provider's facts",
    "catalog/provider_templates/softbank.toml": "a Japanese provider's facts",
    "cli/demo.py": "checks what the demonstration's story tells",
    "cli/demo_story.py": "the demonstration's story plays in Tokyo",
}
# Single strings elsewhere: the file, what stands in it, and why. Each must still be there.
EXCEPTIONS = (
    ("catalog/jurisdictions.py", r"[A-Z\s]+", "the whole of ISO 3166-1"),
    ("catalog/places.py", r"[A-Z]{2}", "where jurisdictions lie, twenty of them"),
    ("catalog/deployment_types.py", r"[a-z]+[0-9]?|[A-Z]{2}", "Azure's regions, and the country of each"),
    ("catalog/provider_templates/azure-openai.toml", r"southeastasia", "one of Azure's regions"),
    ("catalog/provider_templates/azure-openai-v1.toml", r"southeastasia", "one of Azure's regions"),
    ("inspection/profiles/__init__.py", r"jp|sg", "the profiles that ship"),
    ("inspection/profiles/secrets.py", r"SG\\\.", "how SendGrid's keys begin"),
    ("policy/check.py", r"Japanese", "the language of title_ja"),
)


def patterns():
    """Of each nation, what names it."""
    found = {}
    for name in nation_names():
        nation = load_nation(name)
        derived = (
            rf"(?<![A-Za-z]){nation.home}(?![A-Za-z])",
            rf"(?<![A-Za-z0-9]){name}[.-][a-z]",
            rf"\.{name}(?![A-Za-z0-9])",
            rf"\A{name}\Z",
            re.escape(nation.region),
        )
        found[name] = re.compile("|".join((*derived, *SAYS[name])))
    return found


PATTERNS = patterns()


def named(text):
    text = LANGUAGE.sub("", text)
    return sorted(name for name, pattern in PATTERNS.items() if pattern.search(text))


def strings_of(source):
    """Every string of a Python source and whatever it imports, with the line; no docstrings and other bare strings."""
    tree = ast.parse(source)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.lineno, node.value
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names)


def texts_of(value):
    """Every key and string of a TOML value."""
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (key, *texts_of(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in texts_of(inner)]
    return [value] if isinstance(value, str) else []


def texts_in(file, source):
    """(line, text) of whatever in a file is no comment; the starter's comments count: an operator reads them."""
    if file.endswith(".py"):
        return list(strings_of(source))
    if file.startswith("catalog/starter/"):
        return list(enumerate(source.splitlines(), 1))
    if file.endswith(".toml"):
        return [(0, text) for text in texts_of(tomllib.loads(source))]
    return [(number, line) for number, line in enumerate(source.splitlines(), 1) if not line.startswith("//")]


def findings(file, source):
    """What names a nation where none belongs, as "file:line: text"."""
    if any(file.startswith(place) for place in ITS_PLACES):
        return []
    allowed = [re.compile(pattern, re.DOTALL) for place, pattern, _ in EXCEPTIONS if place == file]
    return [
        f"{file}:{line}: {', '.join(named(text))}: {text[:80]!r}"
        for line, text in texts_in(file, source)
        if named(text) and not any(pattern.fullmatch(text) for pattern in allowed)
    ]


def sources():
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix in (".py", ".toml", ".cedar"):
            yield path.relative_to(SOURCE).as_posix(), path.read_text(encoding="utf-8")


def test_nothing_outside_packs_profiles_and_nations_names_a_nation():
    assert [finding for file, source in sources() for finding in findings(file, source)] == []


@pytest.mark.parametrize(
    ("file", "planted"),
    [
        ("catalog/declarations.py", 'DEFAULT_PACKS = ("jp-residency",)\n'),
        ("catalog/declarations.py", 'def read(home=("JP",)): ...\n'),
        ("catalog/inspection.py", 'DEFAULT = "jp"\n'),
        ("gateway/pipeline.py", 'if "jp.my_number" in labels: raise\n'),
        ("gateway/pipeline.py", 'text = f"in {place}, Japan"\n'),
        ("gateway/limits.py", 'CURRENCY = "JPY"\n'),
        ("gateway/pipeline.py", "from sekisho.inspection.profiles.jp.checks import is_my_number\n"),
        ("inspection/scanner.py", "from sekisho.inspection.profiles import jp\n"),
        ("kernel/clock.py", 'ZONE = "Asia/Tokyo"\n'),
        ("inspection/checks.py", 'PREFIX = "+81"\n'),
        ("inspection/checks.py", 'WORDS = ["マイナンバー"]\n'),
        ("gateway/pipeline.py", 'text = "Japanese rules hold"\n'),
        ("policy/check.py", 'title = "Japan"\n'),  # the language is excepted, the nation is not
        ("settings.py", 'HOST = "console.example.jp"\n'),
        ("catalog/declarations.py", 'PACKS = ["sg-residency"]\n'),
        ("gateway/pipeline.py", 'CODE = "SG"\n'),
        ("catalog/starter/boundary.toml", '# home = ["JP"]\n'),
        ("catalog/starter/boundary.toml", 'home = ["SG"]\n'),
        ("catalog/provider_templates/vllm.toml", 'advice = ["jp-residency denies it"]\n'),
        ("assurance/rules.toml", 'place = "JP"\n'),
        ("assurance/rules.cedar", 'forbid (principal, action, resource) when { resource == Jurisdiction::"JP" };\n'),
    ],
)
def test_a_nation_that_is_planted_is_found(file, planted):
    assert findings(file, planted)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("gateway/pipeline.py", '"""For example JP."""\n# JP, +81\nx = 1\n'),
        ("gateway/pipeline.py", 'def f():\n    """`jp.my_number`"""\n'),
        ("gateway/pipeline.py", 'KEYS = ("title_ja", "jpeg", "JPEG", "msg.id", "FINAL")\n'),
        ("policy/packs/jp_residency/20_places.cedar", 'permit (principal, action, resource); // "JP"\n'),
        ("assurance/rules.cedar", "// JP\n"),
    ],
)
def test_examples_in_docstrings_and_words_that_look_alike_are_free(file, source):
    assert findings(file, source) == []


@pytest.mark.parametrize(("file", "pattern", "why"), EXCEPTIONS)
def test_no_exception_outlives_its_reason(file, pattern, why):
    allowed = re.compile(pattern, re.DOTALL)
    texts = [text for _, text in texts_in(file, (SOURCE / file).read_text(encoding="utf-8"))]
    assert any(named(text) and allowed.fullmatch(text) for text in texts), why


@pytest.mark.parametrize("place", ITS_PLACES)
def test_every_place_of_a_nation_is_there(place):
    assert (SOURCE / place).exists()


@pytest.mark.parametrize("name", nation_names())
def test_a_nation_begins_with_what_ships_and_names_no_other(name, tmp_path):
    nation = load_nation(name)
    assert set(nation.packs) <= set(pack_names())
    assert set(nation.profiles) <= set(profile_names())
    assert {below for pack in nation.packs for below in load_pack(pack).builds_on} <= set(nation.packs)
    assert nation.example.label in {rule.label for rule in rules_of(nation.profiles)}
    write_declarations(tmp_path / "d", nation=name)
    read = read_declarations(tmp_path / "d")
    assert read.mistakes == ()
    boundary = read.catalogue.boundary
    assert (boundary.home, boundary.default_residency, boundary.packs) == ((nation.home,), (nation.home,), nation.packs)
    for path in (tmp_path / "d").rglob("*.*"):
        text = path.read_text(encoding="utf-8").replace(nation.abroad, "")
        assert "@" not in re.sub(r'@(id|title|title_ja)\b|"@', "", text), path
        assert set(named_in_lines(text)) <= {name}, path


def named_in_lines(text):
    return {
        name for line in text.splitlines() for name in named(line.replace("console's second language, Japanese", ""))
    }


def test_there_is_one_default():
    assert [name for name in nation_names() if load_nation(name).default] == [default_nation()]


def test_a_nation_without_a_starter_is_unknown(tmp_path):
    with pytest.raises(KeyError):
        write_declarations(tmp_path / "d", nation="atlantis")


def test_profiles_have_labels_and_checks_of_their_own():
    shared = {rule.label for rule in rules_of(())} | {"phone"}
    seen = set(universal.CHECKS)
    for name, profile in PROFILES.items():
        assert all(rule.label.startswith(f"{name}.") for rule in profile.rules() if rule.label not in shared)
        assert seen.isdisjoint(profile.checks)
        seen |= set(profile.checks)
