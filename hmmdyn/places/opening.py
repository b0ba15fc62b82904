"""Which store a URL is of."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import quote, unquote, urlsplit

from hmmdyn.errors import MissingPackageError, UsageError
from hmmdyn.names import did_you_mean, printable
from hmmdyn.places.hub import HubStore
from hmmdyn.places.store import Store
from hmmdyn.places.web import WebStore

_PACKAGES = {
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "hf": "huggingface_hub",
}
_OF_AZURE = ("az", "abfs", "abfss")


def open_store(protocol: str, url: str, pattern: str = "") -> tuple[Store, str]:
    """Return the store of a URL and the key in it, without passwords and tokens.

    Parameters
    ----------
    protocol : str
        The URL's, in lower case.
    url : str
        With whatever it holds of these.
    pattern : str
        How paths below it read, where the URL said so: a hub is asked for these alone.

    Raises
    ------
    MissingPackageError
        The package for such URLs is not installed.
    UsageError
        fsspec knows no such store.
    """
    _require_package(protocol)
    if protocol == "hf":
        return HubStore(pattern), re.split(r"[?#]", url)[0].rstrip("/")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise UsageError(
            f"After {protocol}:// stands no host that can be: a bracket or a port is wrong."
        ) from None
    host = parts.netloc.rpartition("@")[2]
    if protocol in ("http", "https"):
        secret = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
        headers = {"Authorization": f"Basic {b64encode(secret).decode()}"} if secret != b":" else {}
        path = quote(parts.path, safe="/%:@!$&'()*+,;=~")
        web, key = WebStore(protocol, headers, parts.query), f"{protocol}://{host}{path}"
        if key.endswith("/"):
            web.know_folder(key.rstrip("/"))
        return web, key.rstrip("/")
    if protocol in _OF_AZURE and "@" in parts.netloc:  # container@account, which is no secret
        return _of_azure(protocol, parts.netloc, parts.path)
    return Store(protocol, {}), f"{protocol}://{host}{parts.path}".rstrip("/")


def _of_azure(protocol: str, authority: str, path: str) -> tuple[Store, str]:
    container, _, account = authority.rpartition("@")
    options = {"account_name": account.partition(".")[0]}
    return Store(protocol, options), f"{protocol}://{container.rpartition(':')[2]}{path}".rstrip(
        "/"
    )


def _require_package(protocol: str) -> None:
    try:
        import fsspec

        fsspec.get_filesystem_class(protocol)
    except ImportError:
        package = _PACKAGES.get(protocol, "fsspec")
        raise MissingPackageError(
            f"Reading {protocol}:// needs the package {package}, which is not installed. Install "
            "it with: pip install 'hmmdyn[remote]'"
        ) from None
    except ValueError:
        known = sorted(_PACKAGES)
        raise UsageError(
            f"{printable(protocol)}:// is no store that is known."
            f"{did_you_mean(protocol, known)} There are {', '.join(known)}, and what else fsspec "
            "has a package for."
        ) from None
