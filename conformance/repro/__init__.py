"""A case of a record as a script of its own, which needs nothing but Python's standard library.

The script starts the server, does on the wire what the case did, and says what was expected and what was seen.
"""

from __future__ import annotations

from forkecho.conformance.repro.script import NoScript as NoScript
from forkecho.conformance.repro.script import Script as Script
from forkecho.conformance.repro.script import script as script
from forkecho.conformance.repro.script import text_of as text_of

__all__ = ["NoScript", "Script", "script", "text_of"]
