"""Marks of prompt injection: text that speaks to the model as its operator would.

A heuristic, and no more: it finds known phrases and the control words of chat templates. A text without a mark may
inject all the same, and a text about injection has marks.
"""

from typing import Final

from sekisho.inspection.rule_data import RuleData

LABEL: Final = "prompt.injection"
_GAP: Final = "[ \\t\\r\\n]{1,3}"
_EARLIER: Final = (
    "(?:all |any |the |your |my |these |those |of |prior |previous |preceding |above |earlier |system ){1,5}"
)


def rules() -> list[RuleData]:
    instructions = "(?:instruction|prompt|direction|command|rule|guideline|message)s?"
    phrases = (
        f"(?:ignore|disregard|forget|override|bypass){_GAP}{_EARLIER}{instructions}",
        f"(?:reveal|print|show|repeat|output|leak){_GAP}(?:me )?(?:your |the )(?:system|initial|hidden) ?prompt",
        "you are (?:now|no longer) (?:in )?(?:dan|developer mode|jailbroken|unrestricted|bound by)",
        "do anything now",
        "(?:<\\|(?:im_start|im_end|system|endoftext|start_header_id|eot_id)\\|>|\\[/?INST\\]|<</?SYS>>)",
        "[\\n\\x1e][#*]{1,4} ?(?:system|new instructions?)(?: prompt| message)?:",
    )
    return [phrase_rule(phrase) for phrase in phrases]


def phrase_rule(phrase: str) -> RuleData:
    """A phrase, in either case; where it stands is the whole of the value."""
    return RuleData(label=LABEL, anchor=f"(?i:{phrase})", shape=f"(?i:{phrase})")
