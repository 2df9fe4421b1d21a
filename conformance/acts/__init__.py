"""What the steps of a case do and demand on the wire."""

from __future__ import annotations

from forkecho.conformance.acts.coming import EXPECT as EXPECT
from forkecho.conformance.acts.coming import expect as expect
from forkecho.conformance.acts.coming import expect_echo as expect_echo
from forkecho.conformance.acts.coming import expect_queued as expect_queued
from forkecho.conformance.acts.coming import expect_unread as expect_unread
from forkecho.conformance.acts.doing import bind as bind
from forkecho.conformance.acts.doing import close as close
from forkecho.conformance.acts.doing import cut as cut
from forkecho.conformance.acts.doing import exchange as exchange
from forkecho.conformance.acts.doing import half_close as half_close
from forkecho.conformance.acts.doing import idle as idle
from forkecho.conformance.acts.doing import open_ as open_
from forkecho.conformance.acts.doing import reset as reset
from forkecho.conformance.acts.doing import send as send
from forkecho.conformance.acts.doing import stuff as stuff
from forkecho.conformance.acts.doing import vanish as vanish
from forkecho.conformance.acts.hosting import WORDS as WORDS
from forkecho.conformance.acts.hosting import call as call
from forkecho.conformance.acts.hosting import hosted_by as hosted_by
from forkecho.conformance.acts.newcomers import reach as reach

__all__ = [
    "EXPECT",
    "WORDS",
    "bind",
    "call",
    "close",
    "cut",
    "exchange",
    "expect",
    "expect_echo",
    "expect_queued",
    "expect_unread",
    "half_close",
    "hosted_by",
    "idle",
    "open_",
    "reach",
    "reset",
    "send",
    "stuff",
    "vanish",
]
