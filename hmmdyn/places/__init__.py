"""Places with files: paths of this machine, and URLs of stores elsewhere, used in one way."""

from hmmdyn.places.place import (
    Place,
    Status,
    digest_of,
    is_url,
    place,
    shown,
    version_of,
    with_layout,
)
from hmmdyn.places.remote import RemotePath

__all__ = [
    "Place",
    "RemotePath",
    "Status",
    "digest_of",
    "is_url",
    "place",
    "shown",
    "version_of",
    "with_layout",
]
