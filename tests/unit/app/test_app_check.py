"""What `check` says of declarations as they stand: layers and lints are wired to it, and nothing is put in force."""

import pytest

from sekisho.app.installation import (
    DeclarationsRefused,
    Listen,
    check_declarations,
    create_installation,
    put_declarations_in_force,
)
from sekisho.settings import DataDirectory

POLICY = '@id("{name}") @title("t") @title_ja("題") {text}\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = DataDirectory(tmp_path_factory.mktemp("check") / "site")
    create_installation(directory.root, Listen())
    return directory


@pytest.fixture
def declared(made):
    """Writes declarations for one test: `declared(file, text)`, and policies in `policies/<layer>/`."""
    before = {path: path.read_bytes() for path in made.declarations.rglob("*") if path.is_file()}

    def write(file, text):
        path = made.declarations / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    yield write
    for path in sorted(made.declarations.rglob("*"), reverse=True):
        if path.is_file() and path not in before:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    for path, data in before.items():
        path.write_bytes(data)


def refused(directory, says):
    """The one mistake, which keeps the declarations from coming in force as well."""
    (mistake,) = check_declarations(directory).mistakes
    assert says in mistake.problem
    with pytest.raises(DeclarationsRefused) as raised:
        put_declarations_in_force(directory)
    assert raised.value.mistakes == (mistake,)
    return mistake


def test_a_forbid_for_two_reasons_is_refused(made, declared):
    rule = "forbid (principal, action, resource) when { context.protected || context.class_rank > 2 };"
    declared("policies/own.cedar", POLICY.format(name="own", text=rule))
    assert refused(made, "for 2 reasons").file == "policies/own.cedar"


def test_a_policy_that_can_never_match_is_refused(made, declared):
    rule = "forbid (principal, action, resource) when { context.class_rank > 9 };"
    declared("policies/own.cedar", POLICY.format(name="own", text=rule))
    refused(made, "can never match")


def test_a_lower_layer_that_loosens_is_refused(made, declared):
    boundary = (made.declarations / "boundary.toml").read_text(encoding="utf-8")
    declared("boundary.toml", f'layers = ["nation", "organisation"]\n{boundary}')
    rule = 'permit (principal, action in [Action::"sendRaw"], resource);'
    declared("policies/organisation/own.cedar", POLICY.format(name="own", text=rule))
    assert refused(made, "no permit of the layer nation covers").file == "policies/organisation/own.cedar"


OF_A_LABEL = {
    "policies/own.cedar": POLICY.format(
        name="own", text='forbid (principal, action, resource) when { context.labels.contains(Label::"jp.my_number") };'
    ),
    "exemptions/trial.toml": """organisation = "default"
policies = ["no"]
deployments = ["manual-local"]
classes = ["internal"]
labels = ["jp.my_number"]
why = "w"
compensating_control = "c"
until = "2099-01-01"
""",
    "statements.toml": """[[statements]]
id = "s"
title = "t"
title_ja = "題"
text = "no label:jp.my_number"
""",
}


@pytest.mark.parametrize("file", OF_A_LABEL)
def test_a_label_that_only_another_profile_finds_is_told_of(made, declared, file):
    boundary = (made.declarations / "boundary.toml").read_text(encoding="utf-8").replace('["jp-residency"]', "[]")
    declared("boundary.toml", boundary.replace('# [inspection]\n# profiles = ["jp"]', "[inspection]\nprofiles = []"))
    forbid = "forbid (principal, action, resource) when { context.protected };"
    rules = {"all": "permit (principal, action, resource);", "no": forbid}
    texts = (POLICY.format(name=name, text=rule) for name, rule in rules.items())
    declared("policies/all.cedar", "".join(texts))
    declared(file, OF_A_LABEL[file])
    (mistake,) = [one for one in check_declarations(made).mistakes if "jp.my_number" in one.problem]
    assert mistake.file == file
    if file == "statements.toml":
        assert mistake.remedy.startswith("There is: ")
    else:
        assert mistake.remedy == "The profile 'jp' finds it: name it in boundary.toml, [inspection] profiles"


def test_notes_are_told_once_each_and_keep_nothing_back(made, declared):
    rule = "forbid (principal, action, resource) when { context.class_rank > 2 };"
    declared("policies/own.cedar", POLICY.format(name="a", text=rule) + POLICY.format(name="b", text=rule))
    mistakes, notes, layers = check_declarations(made)
    assert (mistakes, layers) == ([], ())
    (note,) = notes
    assert (note.key, note.problem) == ("line 2, b", "says the same as a (policies/own.cedar line 1)")
    assert put_declarations_in_force(made)
