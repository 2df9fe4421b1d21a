"""`python -m forkecho` is `forkecho`."""

from __future__ import annotations

import sys

from forkecho.cli import main

if __name__ == "__main__":
    sys.exit(main())
