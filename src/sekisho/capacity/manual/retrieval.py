"""Finding the passages that fit a question: BM25 over words and, for Japanese, pairs of letters. Pure."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from sekisho.capacity.manual.corpus import Section

K1: Final = 1.2  # the usual parameters of BM25 (Robertson and Zaragoza, 2009)
B: Final = 0.75
TITLE_WEIGHT: Final = 3  # a title says what its section is about
COVERAGE_MIN: Final = 0.34  # the share of a question's meaning that a section must hold to be quoted at all
SECTIONS_MAX: Final = 2
SECOND_SECTION_MIN: Final = 0.7  # of the best score
PARAGRAPHS_MAX: Final = 2
QUESTION_MAX: Final = 4_000  # characters; more says nothing more about what is asked

_WORD: Final = re.compile(r"[a-z0-9]+(?:[._/-][a-z0-9]+)*")
_JAPANESE_RUN: Final = re.compile(r"[\u4e00-\u9fff\u3005]+|[\u30a0-\u30ff]+")  # hiragana mostly carries grammar
_STOP_WORDS: Final = frozenset(
    {
        *("a", "an", "the", "is", "are", "was", "be", "been", "do", "does", "did", "can", "could", "how", "what", "it"),
        *("which", "who", "when", "where", "why", "i", "my", "me", "you", "your", "we", "our", "its", "of", "in", "on"),
        *("at", "to", "for", "from", "with", "by", "and", "or", "not", "no", "if", "this", "that", "these", "those"),
        *("there", "have", "has", "had", "will", "would", "should", "about", "please", "tell", "explain", "give"),
        *("use", "used", "using", "get", "got", "work", "works", "mean", "means", "happen", "happens", "thing"),
        *("何", "方", "使", "教", "見", "方法", "今日", "場合"),
    }
)
_SYNONYMS: Final = {
    "receipt": ("proof",),
    "deny": ("refuse", "403"),
    "reject": ("refuse", "403"),
    "block": ("refuse", "403"),
    "forbidden": ("403", "refuse"),
    "mask": ("redaction", "redact"),
    "anonymise": ("redaction",),
    "delete": ("revoke",),
    "disable": ("revoke",),
    "install": ("init",),
    "start": ("up", "init"),
    "setup": ("init", "up"),
    "log": ("ledger",),
    "rule": ("policy",),
    "region": ("residency",),
    "country": ("residency",),
    "confidential": ("class",),
    "classification": ("class",),
    "client": ("sdk",),
    "library": ("sdk",),
    "full": ("disk",),
    "backup": ("back",),
}
_ENDINGS: Final = (("ies", "y"), ("ing", ""), ("ed", ""), ("es", "e"), ("s", ""))


class Passage(NamedTuple):
    """Paragraphs of a section that fit, in reading order."""

    section: Section
    paragraphs: tuple[str, ...]
    score: float


class Index:
    """Sections made ready to be searched. Immutable once built."""

    def __init__(self, sections: Iterable[Section]) -> None:
        self._sections = tuple(sections)
        self._counts = [_counts(section) for section in self._sections]
        lengths = [sum(counts.values()) for counts in self._counts]
        mean = sum(lengths) / max(1, len(lengths))
        self._norms = [K1 * (1 - B + B * length / mean) for length in lengths]
        self._holders = Counter(term for counts in self._counts for term in counts)

    def search(self, question: str) -> tuple[Passage, ...]:
        """The best passages, best first; empty where nothing fits."""
        asked = terms(question[:QUESTION_MAX])
        if not asked:
            return ()
        meaning = sum(self._rarity(term) for term in asked)
        scored = sorted(
            ((self._score(position, asked), position) for position in range(len(self._sections))),
            key=lambda pair: (-pair[0], pair[1]),
        )
        best = scored[0][0] if scored else 0.0
        passages: list[Passage] = []
        for score, position in scored[:SECTIONS_MAX]:
            covered = sum(self._rarity(term) for term in asked if self._finds(position, term))
            if score > 0 and covered >= COVERAGE_MIN * meaning and score >= SECOND_SECTION_MIN * best:
                section = self._sections[position]
                passages.append(Passage(section, self._paragraphs(section, asked), score))
        return tuple(passages)

    def _rarity(self, term: str) -> float:
        holders = max((self._holders[form] for form in _forms(term)), default=0)
        return math.log(1 + (len(self._sections) - holders + 0.5) / (holders + 0.5))

    def _finds(self, position: int, term: str) -> bool:
        return any(form in self._counts[position] for form in _forms(term))

    def _score(self, position: int, asked: frozenset[str]) -> float:
        score = 0.0
        for term in asked:
            count = max(self._counts[position][form] for form in _forms(term))
            score += self._rarity(term) * count * (K1 + 1) / (count + self._norms[position])
        return score

    def _paragraphs(self, section: Section, asked: frozenset[str]) -> tuple[str, ...]:
        scores = []
        for position, paragraph in enumerate(section.paragraphs):
            found = terms(paragraph)
            score = sum(self._rarity(term) for term in asked if any(form in found for form in _forms(term)))
            scores.append((-score, position))
        chosen = sorted(position for _, position in sorted(scores)[:PARAGRAPHS_MAX])
        return tuple(section.paragraphs[position] for position in chosen)


def terms(text: str) -> frozenset[str]:
    """What a text is about: English words by their stems, Japanese kanji and katakana in pairs."""
    return frozenset(_terms(text))


def _terms(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).lower()
    found: list[str] = []
    for word in _WORD.findall(folded):
        parts = re.split(r"[._/-]", word)
        found += [_stem(part) for part in parts if part not in _STOP_WORDS and (len(part) > 1 or part.isdigit())]
        if len(parts) > 1:
            found.append(word)
    for run in _JAPANESE_RUN.findall(folded):
        pairs = [run] if len(run) < 3 else [run[i : i + 2] for i in range(len(run) - 1)]
        found += [pair for pair in pairs if pair not in _STOP_WORDS]
    return found


def _counts(section: Section) -> Counter[str]:
    counts = Counter(_terms("\n".join(section.paragraphs)))
    for term in _terms(section.title):
        counts[term] += TITLE_WEIGHT
    return counts


def _forms(term: str) -> tuple[str, ...]:
    return (term, *_SYNONYMS.get(term, ()))


def _stem(word: str) -> str:
    for ending, replacement in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + replacement
            break
    return word[:-1] if len(word) > 4 and word.endswith("e") else word
