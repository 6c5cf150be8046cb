"""Mutants of one Cedar policy: what a slip of the pen could make of it. Works on the text, as `cedarpy` takes it."""

import re

# Strings and comments are passed over whole, so that what stands in them is no syntax.
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|&&|\|\||[A-Za-z_][A-Za-z0-9_]*|\d+|\s+|.', re.DOTALL)
OPENING, CLOSING = "([{", ")]}"
# A permit of sending that named no action would decide the same: other actions want a permit that names them.
KEPT_IN_A_PERMIT = "action"


def mutants(text):
    """(what was done, the policy's text) of every mutant; the policy dropped is the empty text."""
    head, effect, scope, clauses = taken_apart(text)
    yield "drop the policy", ""
    other = "permit" if effect == "forbid" else "forbid"
    yield f"make it a {other}", joined(head, other, scope, clauses)
    for number, part in enumerate(scope):
        name = part.split()[0]
        if part != name and not (effect == "permit" and name == KEPT_IN_A_PERMIT):
            yield f"for any {name}", joined(head, effect, [*scope[:number], name, *scope[number + 1 :]], clauses)
    for number, (kind, body) in enumerate(clauses):
        before, after = clauses[:number], clauses[number + 1 :]

        def with_clauses(*changed, before=before, after=after):
            return joined(head, effect, scope, [*before, *changed, *after])

        swapped = "unless" if kind == "when" else "when"
        yield f"{swapped} for {kind} {{{body}}}", with_clauses((swapped, body))
        yield f"without {kind} {{{body}}}", with_clauses()
        for operator in ("&&", "||"):
            parts = split(body, operator)
            for left_out in range(len(parts) if len(parts) > 1 else 0):
                rest = operator.join(parts[:left_out] + parts[left_out + 1 :])
                yield f"without {parts[left_out].strip()} in {kind}", with_clauses((kind, rest))
        for changed in off_by_one(body):
            yield f"{kind} {{{changed}}}", with_clauses((kind, changed))


def taken_apart(text):
    """Annotations, effect, the three parts of the scope, and the clauses as (kind, body)."""
    tokens = [token for token in TOKEN.findall(text) if not token.startswith("//")]
    depth, start, at, pieces = 0, 0, 0, []  # pieces: what stands before a group at the top, and the group
    for number, token in enumerate(tokens):
        if token in OPENING:
            if depth == 0:
                start = number
            depth += 1
        elif token in CLOSING:
            depth -= 1
            if depth == 0:
                pieces.append(("".join(tokens[at:start]).strip(), "".join(tokens[start + 1 : number])))
                at = number + 1
    assert "".join(tokens[at:]).strip() == ";", text
    place = next(n for n, (before, _) in enumerate(pieces) if before in ("permit", "forbid"))
    head = " ".join(f"{before}({inner})" for before, inner in pieces[:place])
    scope = [part.strip() for part in split(pieces[place][1], ",")]
    assert len(scope) == 3, text
    return head, pieces[place][0], scope, pieces[place + 1 :]


def joined(head, effect, scope, clauses):
    return f"{head} {effect} ({', '.join(scope)}) {' '.join(f'{kind} {{{body}}}' for kind, body in clauses)};"


def split(text, separator):
    """At `separator`, where it stands in no bracket."""
    depth, parts = 0, [""]
    for token in TOKEN.findall(text):
        depth += (token in OPENING) - (token in CLOSING)
        if token == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part for part in parts if part.strip()]


def off_by_one(text):
    """Each whole number one more and one less: a border must have a case on either side."""
    tokens = TOKEN.findall(text)
    for number, token in enumerate(tokens):
        if token.isdigit():
            for value in (int(token) + 1, int(token) - 1):
                yield "".join([*tokens[:number], str(value), *tokens[number + 1 :]])
