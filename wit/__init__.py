"""wit: a git host in one daemon."""

__version__ = "2.0.0"
