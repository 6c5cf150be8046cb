"""Making HTML so that text can't become markup: whatever is not `Html` is escaped. Pure."""

import html
from typing import Final

_VOID: Final = frozenset({"br", "hr", "input", "link", "meta"})


class Html(str):
    """Text that is markup already. Made by `tag` and `join` alone."""

    __slots__ = ()


def tag(element: str, /, *children: object, **attributes: str | bool | int | None) -> Html:
    """An element. Children are escaped unless they are Html; lists are flattened, None is nothing.

    Attributes: `class_` is `class`, other underscores are hyphens; True stands alone, False and None are left out.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if element in _VOID:
        return Html(f"<{element}{written}>")
    return Html(f"<{element}{written}>{join(*children)}</{element}>")


def join(*children: object) -> Html:
    """Children one after another."""
    return Html("".join(map(_text, children)))


def document(language: str, *head_and_body: Html) -> Html:
    return Html(f'<!doctype html>\n<html lang="{html.escape(language)}">{join(*head_and_body)}</html>\n')


def _text(child: object) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, list | tuple):
        return "".join(map(_text, child))
    return html.escape(str(child))


def _attribute(key: str, value: str | bool | int | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
