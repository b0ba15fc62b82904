"""The clients of stores, as fsspec makes them, but asking once: `Store` is patient for all of them.

Each client has waits of its own, by which a store that is down was asked up to 125 times within
several minutes.
"""

from __future__ import annotations

import errno
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any

from hmmdyn.places.trouble import StoreError

# What they log of failures that pass, with addresses, is for those who have set up logging.
_TALKATIVE = ("gcsfs", "google", "adlfs", "azure", "s3fs")


def client_of(protocol: str, **options: Any) -> Any:
    """Return fsspec's file system for URLs of a protocol.

    Parameters
    ----------
    protocol : str
        Of the URLs.
    options
        What fsspec's file system is made with.

    Raises
    ------
    ImportError
        Its package is not installed.
    StoreError
        It has to be told more.
    """
    import fsspec

    for name in _TALKATIVE:
        logging.getLogger(name).addHandler(_NOWHERE)
    made: Callable[..., Any] = _MADE.get(protocol, partial(fsspec.filesystem, protocol))
    try:
        return made(**options)
    except (TypeError, ValueError):  # whose text may hold what they were told
        raise StoreError(errno.EINVAL, _NOT_TOLD.get(protocol, _MORE)) from None


def _amazon(**options: Any) -> Any:
    from s3fs import S3FileSystem

    client = S3FileSystem(config_kwargs={"retries": {"total_max_attempts": 1}}, **options)
    client.retries = 1
    return client


def _google(**options: Any) -> Any:
    return _asking_once()(**options)


@cache
def _asking_once() -> Any:
    """Return the client of Google's stores without its waits.

    It is the one of them that asks through HTTP alone: the other looks first, before every
    request, for credentials to ask for the kind of bucket with.
    """
    from gcsfs.core import GCSFileSystem

    return type("_Google", (GCSFileSystem,), {"_request": inspect.unwrap(GCSFileSystem._request)})


def _azure(**options: Any) -> Any:
    from adlfs import AzureBlobFileSystem

    client = AzureBlobFileSystem(**options)
    with suppress(AttributeError):  # of a version that keeps it elsewhere, which then waits longer
        client.service_client._config.retry_policy.total_retries = 0
    return client


_MORE = "a store of this kind has to be told more than a URL says"
_NO_ACCOUNT = (
    "its client knows no account to ask with. Set AZURE_STORAGE_CONNECTION_STRING, or "
    "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, as they are told at Azure"
)
_NOT_TOLD = dict.fromkeys(("az", "abfs", "abfss"), _NO_ACCOUNT)
_NOWHERE = logging.NullHandler()
_MADE: dict[str, Callable[..., Any]] = {
    "s3": _amazon,
    "s3a": _amazon,
    "gs": _google,
    "gcs": _google,
    "az": _azure,
    "abfs": _azure,
    "abfss": _azure,
}
