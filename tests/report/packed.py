"""What a page holds compressed, as the browser unpacks it."""

from __future__ import annotations

import base64
import gzip
import json
import re


def unpacked(html: str, what: str) -> str:
    """The script or data of this name: ``data``, ``own`` or ``plotly``."""
    (packed,) = re.findall(rf'<script type="application/octet-stream" id="{what}">(.*?)</', html)
    return gzip.decompress(base64.b64decode(packed)).decode()


def data(html: str) -> dict:
    return json.loads(unpacked(html, "data"))


def filled(html: str) -> str:
    """The page with the rows of its closed tables, as they are when it is read."""
    rows = data(html)["rows"]
    return re.sub(r'(<tbody data-rows="(\w+)">)', lambda m: m[1] + rows[m[2]], html)
