"""Tests on the event loop that the gateway runs on, which differs from asyncio's own where it hurts."""

import asyncio
import functools

import uvloop


def on_uvloop(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **kwargs))

    return run
