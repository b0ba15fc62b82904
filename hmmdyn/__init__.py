"""hmmdyn: see the phases training went through, and compare seeds for convergence speed."""

__version__ = "0.1.0"
