"""The words an option may take, wherever it is checked."""

PROTOCOLS = ("bic", "paper", "supported")
COVARIANCE_TYPES = ("diag", "full")
STANDARDISATIONS = ("pooled", "log-start", "run")
DIRECTIONS = ("above", "below")
CLOCKS = ("checkpoint", "step", "log-step")
PARTS_BY = ("layer", "role")
FORMATS = ("html", "json", "csv", "png", "svg", "pdf", "gif", "mp4", "player")
DEFAULT_FORMATS = ("html", "json", "csv")
SOURCES_OF_PLOTLY = ("inline", "cdn", "none")
THEMES = ("light", "dark")
# How the singular values of large matrices are found.
EXACT, SKETCH = SPECTRA = ("exact", "sketch")
