"""Statements that policies must keep: `[[statements]]` of `statements.toml`. Pure; what they say is read elsewhere."""

from typing import Final

from sekisho.catalog.interfaces import DeclaredStatement
from sekisho.catalog.table import NAME, NAME_REMEDY, Table, shown

STATEMENTS_FILE: Final = "statements.toml"
STATEMENTS_MAX: Final = 100  # each is proved anew before declarations are taken over


def read_statements(table: Table) -> tuple[DeclaredStatement, ...]:
    """In the file's order, each id once; mistakes are noted in the table."""
    raw = table.take("statements")
    if raw is None:
        return ()
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw) or len(raw) > STATEMENTS_MAX:
        remedy = f"Write [[statements]] with id, title, title_ja and text, at most {STATEMENTS_MAX}"
        table.mistake("statements", "are no list of tables", remedy)
        return ()
    found: dict[str, DeclaredStatement] = {}
    for position, values in enumerate(raw):
        inner = Table(values, table.file, table.mistakes, f"statements[{position}].")
        statement = _statement(inner)
        inner.finish()
        if statement is not None and statement.id in found:
            inner.mistake("id", f"{statement.id!r} stands twice", "Give each statement an id of its own")
        elif statement is not None:
            found[statement.id] = statement
    return tuple(found.values())


def _statement(table: Table) -> DeclaredStatement | None:
    identifier = table.take_text("id", remedy='Name it, like id = "confidential-stays"')
    title = table.take_text("title", remedy="Say in one line of English what must hold")
    title_ja = table.take_text("title_ja", remedy="Say in one line of Japanese what must hold")
    text = table.take_text("text", remedy='Write it as `sekisho prove` takes it: text = "no class:confidential+ to …"')
    if identifier is not None and not NAME.fullmatch(identifier):
        table.mistake("id", f"{shown(identifier)} is not a name", NAME_REMEDY)
        return None
    if identifier is None or title is None or title_ja is None or text is None:
        return None
    return DeclaredStatement(id=identifier, title=title, title_ja=title_ja, text=text)
