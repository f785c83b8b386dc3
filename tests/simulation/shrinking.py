"""A failing story made shorter: what is left is what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.simulation.story import Story

MAX_PLAYS = 300
"""Plays that one failure is worth: a few seconds."""


def shrunk(story: Story, fails: Callable[[Story], bool]) -> Story:
    """Without the events that it does not take to fail, first in large pieces, then one by one."""
    plays = 0
    size = max(1, len(story.events) // 2)
    while plays < MAX_PLAYS:
        start, has_shrunk = 0, False
        while start < len(story.events) and plays < MAX_PLAYS:
            shorter = replace(story, events=story.events[:start] + story.events[start + size :])
            plays += 1
            if fails(shorter):
                story, has_shrunk = shorter, True
            else:
                start += size
        if size == 1 and not has_shrunk:
            break
        size = max(1, size // 2)
    return story
