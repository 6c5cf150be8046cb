"""What a policy looks at: the attributes of the deployment and of the request that its conditions name, and the actions
that it is for. Pure."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import cedarpy
from cedarpy import pst

from sekisho.policy.interfaces import PolicyReads


def policy_reads(text: str) -> PolicyReads:
    """Of one policy's Cedar text. Raises ValueError for what is not Cedar."""
    deployment: set[str] = set()
    request: set[str] = set()
    for policy in cedarpy.policies_to_pst(text).static_policies.values():
        for node in _nodes(policy):
            if isinstance(node, pst.GetAttr):
                names: tuple[str, ...] = (node.attr,)
            elif isinstance(node, pst.HasAttr):
                names = tuple(node.attrs)[:1]  # `has a.b` looks at `a`; the rest is within it
            else:
                continue
            if isinstance(node.base, pst.Var) and node.base.name == "resource":
                deployment.update(names)
            elif isinstance(node.base, pst.Var) and node.base.name == "context":
                request.update(names)
    return PolicyReads(tuple(sorted(deployment)), tuple(sorted(request)))


def reads_of_context(text: str, name: str) -> bool:
    """Whether a policy may look at this attribute of the request: it names it, or takes the context as a whole, as in
    `{"a": context}.a`. Raises ValueError for what is not Cedar.
    """
    if name in policy_reads(text).request:
        return True
    nodes = [node for policy in cedarpy.policies_to_pst(text).static_policies.values() for node in _nodes(policy)]
    named = [node for node in nodes if isinstance(node, pst.GetAttr | pst.HasAttr) and _is_context(node.base)]
    return sum(map(_is_context, nodes)) > len(named)


def _is_context(node: Any) -> bool:
    return isinstance(node, pst.Var) and node.name == "context"


def policy_actions(text: str) -> frozenset[str] | None:
    """The actions that one policy's scope names; None: every action. Raises ValueError for what is not Cedar."""
    (policy,) = cedarpy.policies_to_pst(text).static_policies.values()
    if isinstance(policy.action, pst.ScopeAny):
        return None
    named = (policy.action.entity,) if isinstance(policy.action, pst.ActionEq) else policy.action.entities
    return frozenset(uid.id for uid in named)


def _nodes(node: Any) -> Iterator[Any]:
    """Every node below, without recursion: policies may nest as deep as their parser allows."""
    stack = [node]
    while stack:
        value = stack.pop()
        if is_dataclass(value):
            yield value
            stack.extend(getattr(value, field.name) for field in fields(value))
        elif isinstance(value, tuple | list | frozenset):
            stack.extend(value)
        elif isinstance(value, dict) or hasattr(value, "items"):
            stack.extend(value.values())
