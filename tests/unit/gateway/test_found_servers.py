"""What is made of what listens on loopback, which may say anything."""

import json

import pytest

from gateway_fakes import FakeClient, Script
from sekisho.catalog.interfaces import ServerKind
from sekisho.gateway.discovery import HOST, Found, discover

KINDS = {"known": ServerKind((), "/version", "version", "maker"), "any": ServerKind(())}
URL = "http://127.0.0.1:9/v1"


async def found(document):
    client = FakeClient([])
    client.scripts[HOST] = [Script(body=json.dumps(document).encode()), Script(body=b"{}")]
    return await discover(client, KINDS, [9])


async def test_an_owner_tells_the_kind():
    assert await found({"data": [{"id": "m", "owned_by": "maker"}]}) == [Found("known", URL, ("m",))]
    assert await found({"data": [{"id": "m", "owned_by": "somebody"}]}) == [Found("any", URL, ("m",))]


@pytest.mark.parametrize("owner", [{}, [], None, 7, True])
async def test_an_owner_that_is_no_text_tells_no_kind(owner):
    assert await found({"data": [{"id": "m", "owned_by": owner}]}) == [Found("any", URL, ("m",))]
    listed = {"data": [{"id": "m", "owned_by": owner}, {"id": "n", "owned_by": "maker"}]}
    assert await found(listed) == [Found("known", URL, ("m", "n"))]
