"""Speed: so many clients one after the other at each of several servers, in turns, and what a connection costs."""

from __future__ import annotations

from forkecho.conformance.bench.rounds import Course, Ended, Generate, Lane, metered, weigh, windows

__all__ = ["Course", "Ended", "Generate", "Lane", "metered", "weigh", "windows"]
