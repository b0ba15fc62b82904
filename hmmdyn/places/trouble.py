"""What went wrong when a store was asked, in words that hold no address, password or token."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

_PASSING = (408, 425, 429)  # and 500 and above
_PASSING_CODES = ("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException")
_REFUSED = (401, 403, 407)
_REFUSED_CODES = (
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ClientAuthenticationError",
    "AzureSigningError",
)
_NAMES_OF_STORES = (
    *("aiohttp", "httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "botocore"),
    *("aiobotocore", "s3fs", "gcsfs", "adlfs", "azure", "google", "huggingface_hub", "fsspec"),
)
_OF_A_CONNECTION = re.compile(r"Timeout|Connect|Read|Payload|Incomplete|Protocol|Transport|OSError")
_OF_THE_SYSTEM = (OSError, TimeoutError, EOFError)
_CODE = re.compile(r"[A-Za-z0-9.]{1,40}")

AGAIN = "run this again: what was measured is kept"
CHANGED = f"it changed while it was read. When nothing writes it any more, {AGAIN}"


class StoreError(OSError):
    """A store did not do what it was asked to; ``strerror`` is the reason."""


class TooShortError(EOFError):
    """Fewer bytes came than were asked for."""


@dataclass(frozen=True)
class Trouble:
    """A failure: ``error`` to raise, whether it may pass, and for how long the store asks to wait.

    ``wait`` is in seconds; None where the store does not say.
    """

    error: OSError
    passes: bool = False
    wait: float | None = None


def trouble_of(error: Exception) -> Trouble:
    """Say what an exception of a store's library means.

    The exception's own text is never told: it may hold a URL with a token.
    """
    if isinstance(error, StoreError):
        return Trouble(error)
    if isinstance(error, ImportError):
        reason = "a package for such URLs is not installed. Install it with: "
        return Trouble(StoreError(errno.EIO, f"{reason}pip install 'hmmdyn[remote]'"))
    chain = list(_chain(error))
    status = next((found for one in chain if (found := _status(one))), None)
    code = next((word for one in chain if (word := _code(one))), None)
    said = ", ".join(filter(None, (f"{status} {_phrase(status)}" if status else "", code)))
    if status in _REFUSED or code in _REFUSED_CODES or isinstance(error, PermissionError):
        reason = (
            f"access was refused{f' ({said})' if said else ''}: the token or key is missing, "
            f"wrong, or has expired. Renew it, then {AGAIN}"
        )
        return Trouble(StoreError(errno.EACCES, reason))
    if status in _PASSING or (status or 0) >= 500 or code in _PASSING_CODES:
        return Trouble(StoreError(errno.EIO, f"the store said {said}"), True, _wait(chain))
    if status == 412:
        return Trouble(StoreError(errno.EIO, CHANGED))
    if status in (404, 410):
        return _not_there()
    if status is None and isinstance(error, FileNotFoundError):
        return _beneath(chain) or _not_there()
    if status:
        return Trouble(StoreError(errno.EIO, f"the store said {said}"))
    if isinstance(error, TooShortError):
        return Trouble(StoreError(errno.EIO, "fewer bytes came than were asked for"), True)
    kind = type(error).__name__
    if not any(map(_is_of_a_store, chain)):
        return Trouble(StoreError(errno.EIO, f"its client failed ({kind})"))
    return Trouble(
        StoreError(errno.EIO, f"the connection failed ({kind})"), any(map(_may_pass, chain))
    )


def _is_of_a_store(error: BaseException) -> bool:
    return _library(error) in _NAMES_OF_STORES or isinstance(error, _OF_THE_SYSTEM)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, _OF_THE_SYSTEM) or (
        _is_of_a_store(error) and _OF_A_CONNECTION.search(type(error).__name__) is not None
    )


def _not_there() -> Trouble:
    return Trouble(FileNotFoundError(errno.ENOENT, "it is not there"))


def _beneath(chain: list[BaseException]) -> Trouble | None:
    """Say what failed where a library says of any failure that the file is not there."""
    others = (one for one in chain if not isinstance(one, FileNotFoundError))
    cause = next(filter(_is_of_a_store, others), None)
    return trouble_of(cause) if isinstance(cause, Exception) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _library(error: BaseException) -> str:
    return type(error).__module__.split(".")[0]


def _status(error: BaseException) -> int | None:
    """Return the number with which a server answered, wherever a library keeps it."""
    # gcsfs makes errors of the system of these two.
    if isinstance(error, FileExistsError):
        return 412
    if type(error) is OSError and str(error).startswith("Forbidden: "):
        return 403
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        found: Any = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(response, "status_code", None)
    # What others call a code is none of HTTP's.
    names = ("status", "status_code", *(["code"] if _library(error) in ("gcsfs", "azure") else []))
    for name in names:
        found = found or getattr(error, name, None)
    return found if isinstance(found, int) and 400 <= found <= 599 else None


def _code(error: BaseException) -> str | None:
    """Return the word with which a store of objects answered."""
    response = getattr(error, "response", None)
    told = response.get("Error", {}).get("Code") if isinstance(response, Mapping) else None
    if told is None and type(error).__name__ in _REFUSED_CODES:
        told = type(error).__name__
    known = isinstance(told, str) and _CODE.fullmatch(told) and not told.isdecimal()
    return told if known else None


def _wait(chain: list[BaseException]) -> float | None:
    """Return how many seconds a server asks to wait, where it says so in seconds."""
    for error in chain:
        response = getattr(error, "response", None)
        headers = getattr(error, "headers", None) or getattr(response, "headers", None)
        if isinstance(response, Mapping):
            headers = response.get("ResponseMetadata", {}).get("HTTPHeaders")
        told = {str(k).lower(): v for k, v in dict(headers or {}).items()}.get("retry-after", "")
        if re.fullmatch("[0-9]{1,6}", str(told)):
            return float(told)
    return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
