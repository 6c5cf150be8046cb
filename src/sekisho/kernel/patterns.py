"""Patterns with at most one `*`. Pure."""

from typing import Final

STAR: Final = "*"


def pattern_matches(pattern: str, text: str, *, never: str = "") -> bool:
    """Whether `text` fits; `*` stands for one or more characters, none of them in `never`."""
    head, star, tail = pattern.partition(STAR)
    if not star:
        return text == pattern
    if len(text) <= len(head) + len(tail) or not text.startswith(head) or not text.endswith(tail):
        return False
    middle = text[len(head) : len(text) - len(tail)]
    return not any(character in never for character in middle)


def patterns_overlap(one: str, other: str) -> bool:
    """Whether some text could fit both; may say yes for a pair that only `never` keeps apart."""
    if STAR not in one:
        return pattern_matches(other, one)
    if STAR not in other:
        return pattern_matches(one, other)
    head, _, tail = one.partition(STAR)
    other_head, _, other_tail = other.partition(STAR)
    heads_agree = head.startswith(other_head) or other_head.startswith(head)
    tails_agree = tail.endswith(other_tail) or other_tail.endswith(tail)
    return heads_agree and tails_agree
