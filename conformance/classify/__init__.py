"""Which concurrency model a server is seen to use, from outside: who holds its connections, and who must run for them."""

from __future__ import annotations

from forkecho.conformance.classify.procedure import classify as classify

__all__ = ["classify"]
