"""forkecho: a conformance suite for TCP echo servers that serve every connection in a process of its own."""

__version__ = "0.1.0"
