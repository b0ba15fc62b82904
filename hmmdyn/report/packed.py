"""Scripts and data as pages hold them: compressed, to be unpacked by the browser, and allowed."""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache
from importlib.resources import files

from plotly.offline import get_plotlyjs

# Of plotly.js, the strongest compression takes a third longer and saves a fifth of a percent.
_LEVEL = 6


@cache
def packed_plotly() -> str:
    """Return plotly.js packed, which takes a while and is the same for every page."""
    return packed(get_plotlyjs())


def packed(text: str) -> str:
    """Return a text compressed, in letters that no markup is made of."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), _LEVEL, mtime=0)).decode("ascii")


def policy(*scripts: str) -> str:
    """Return a content-security policy: these scripts and no other, no connection to anywhere.

    plotly.js sets styles on the elements it makes, and saves pictures by way of blobs.
    """
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def asset(name: str) -> str:
    """Return a file of the folder ``templates``."""
    return files("hmmdyn.report").joinpath("templates", name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
