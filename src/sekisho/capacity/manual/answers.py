"""From a question to an answer made of quotations. Pure.

Nothing here is generated: an answer is the passages found, with the titles of their sections, or the plain statement
that nothing fits.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sekisho.capacity.manual.chat import ChatRequest, tokens
from sekisho.capacity.manual.corpus import LANGUAGES, load_sections
from sekisho.capacity.manual.retrieval import Index, Passage

_JAPANESE: Final = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
_PHRASES: Final = {
    "en": {
        "from": "From the manual",
        "none": "The manual has no passage that fits this question. I only quote Sekisho's own documentation. "
        "Its sections are: ",
        "empty": "Ask a question in words: I can only look up text.",
        "join": "; ",
    },
    "ja": {
        "from": "手引きより",
        "none": "この質問に合う箇所は手引きにありません。引用できるのはSekisho自身の文書だけです。次の節があります：",
        "empty": "質問を文章で書いてください。文字しか調べられません。",
        "join": "、",
    },
}


class Reply(NamedTuple):
    """What the engine says: `pieces` are the content cut into tokens, or `tool_call` is (name, arguments)."""

    pieces: tuple[str, ...]
    tool_call: tuple[str, str] | None
    finish_reason: str
    completion_tokens: int


class Library:
    """Both languages of the manual, ready to be asked."""

    def __init__(self) -> None:
        sections = {language: load_sections(language) for language in LANGUAGES}
        self._titles = {language: [section.title for section in sections[language]] for language in LANGUAGES}
        self._indexes: Mapping[str, Index] = {language: Index(sections[language]) for language in LANGUAGES}

    def reply(self, request: ChatRequest) -> Reply:
        if request.forced_tool is not None:
            arguments = json.dumps(_arguments(request.forced_tool, request.question), ensure_ascii=False)
            return Reply((), (request.forced_tool["name"], arguments), "tool_calls", len(tokens(arguments)))
        text, sources = self.answer(request.question)
        if request.json_mode:
            text = json.dumps({"answer": text, "sources": sources}, ensure_ascii=False)
        return _cut(text, request)

    def answer(self, question: str) -> tuple[str, list[str]]:
        """The answer's text, and the titles it is quoted from."""
        language = language_of(question)
        phrases = _PHRASES[language]
        if not question.strip():
            return phrases["empty"], []
        passages = self._indexes[language].search(question)
        if not passages:
            return phrases["none"] + phrases["join"].join(self._titles[language]), []
        return "\n\n".join(_quoted(passage, phrases["from"]) for passage in passages), [
            passage.section.title for passage in passages
        ]


def language_of(question: str) -> str:
    """ "ja" for a question with kana or kanji in it, else "en"."""
    return "ja" if _JAPANESE.search(question) else "en"


def _quoted(passage: Passage, source: str) -> str:
    quotation = "\n>\n".join(f"> {paragraph}" for paragraph in passage.paragraphs)
    return f"{source} — {passage.section.title}\n\n{quotation}"


def _arguments(function: dict[str, Any], question: str) -> dict[str, str]:
    """Every required property that may be a string gets the question: this engine can't know better."""
    schema = function.get("parameters")
    schema = schema if isinstance(schema, dict) else {}
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return {}
    return {
        name: question
        for name in required
        if isinstance(name, str) and isinstance(properties.get(name), dict) and properties[name].get("type") == "string"
    }


def _cut(text: str, request: ChatRequest) -> Reply:
    """The text up to the first stop sequence and within the token limit."""
    ends = [position for stop in request.stops if (position := text.find(stop)) >= 0]
    pieces = tokens(text[: min(ends)] if ends else text)
    if request.tokens_max is not None and len(pieces) > request.tokens_max:
        return Reply(tuple(pieces[: request.tokens_max]), None, "length", request.tokens_max)
    return Reply(tuple(pieces), None, "stop", len(pieces))
