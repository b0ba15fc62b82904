"""The version of hmmdyn, and of everything it writes."""

__version__ = "0.1.0"
