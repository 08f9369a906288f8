"""What went wrong with the Hugging Face hub, said in one place: what was asked, why it failed, and the way out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from zs_env.errors import ConfigError, QuestionError, ZeroSearchError

__all__ = ["HubUnreachableError", "clear_errors", "hide_token"]

_HUB = "https://huggingface.co"
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_NO_ANSWER = ("ConnectError", "ConnectTimeout", "ReadTimeout", "TimeoutException", "ReadError", "RemoteProtocolError")


class HubUnreachableError(ConfigError):
    """The hub can't be reached, or isn't to be."""


@contextmanager
def clear_errors(place: Any, token: str | None) -> Iterator[None]:
    """Raise what the hub's libraries raise as an error that says what to do; whatever is no fault of the hub's, as is.

    Args:
        place: The `HubPlace` that is asked for.
        token: The token that is used, which no message may hold.
    """
    try:
        yield
    except ZeroSearchError:
        raise
    except Exception as error:
        told = _explain(place, _chain(error), token)
        if told is None:
            raise
        raise told from None if token else error  # a traceback may hold the token


def hide_token(text: str, token: str | None) -> str:
    """A text without the token, nor the one that the environment holds.

    Examples:
        >>> hide_token("Bearer hf_abc", "hf_abc")
        'Bearer ***'
    """
    for secret in (token, os.environ.get("HF_TOKEN")):
        if secret:
            text = text.replace(secret, "***")
    return text


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it came from, outermost first."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    return chain


def _is(error: BaseException, *names: str) -> bool:
    """Whether an error is of a class so called: the libraries have moved theirs between modules, not renamed them."""
    return any(kind.__name__ in names for kind in type(error).__mro__)


def _explain(place: Any, chain: Sequence[BaseException], token: str | None) -> ZeroSearchError | None:
    def first(*names: str) -> BaseException | None:
        return next((error for error in chain if _is(error, *names)), None)

    endpoint = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
    page = f"{endpoint}/datasets/{place.identifier}"
    said = hide_token(" ".join(str(chain[0]).split())[:300].rstrip("."), token)
    if place.folder is None:
        if gated := first("GatedRepoError"):
            return ConfigError(_gated(place, page, _status(gated)))
        if first("DisabledRepoError"):
            return ConfigError(f"{place} has been disabled on the hub; {page} may say why. Take another data set.")
        if first("RevisionNotFoundError"):
            return ConfigError(
                f"{place.identifier} has no revision {place.revision!r}. Take a branch, a tag or a commit that "
                f"{page}/commits/main lists, or leave the revision out for the newest."
            )
        not_found = first("DatasetNotFoundError")
        if not_found is not None and "gated" in str(not_found):  # datasets drops what it came from
            return ConfigError(_gated(place, page, 401 if "authenticated" in str(not_found) else 403))
        if first("RepositoryNotFoundError") or not_found is not None:
            return ConfigError(
                f"There is no data set {place.identifier!r} at {endpoint}, or it is private. Check the id; for a "
                "private one, set HF_TOKEN (or the variable of --token-env) to a token that may read it."
            )
        if any(_status(error) == 401 for error in chain):
            return ConfigError(
                f"The hub doesn't accept the token that {place} was asked for with (401). It may have expired: make a "
                f"new one at {endpoint}/settings/tokens and put it in HF_TOKEN (or the variable of --token-env)."
            )
        if first("HFValidationError"):
            return ConfigError(f"{place.identifier!r} is no id of a data set: {said}. Write hf:<owner>/<name>.")
        if first("OfflineModeIsEnabled") or _is_offline():
            name = next((name for name in _OFFLINE if os.environ.get(name)), "HF_HUB_OFFLINE")
            return HubUnreachableError(
                f"{place} can't be read: {name} keeps this process off the network, and there is no copy in the cache. "
                f"Unset it; or copy the data set where there is a network (hf download --repo-type dataset "
                f"{place.identifier} --local-dir DIR) and give that folder instead."
            )
        for error in chain:
            status = _status(error)
            if status is not None and (status == 429 or status >= 500):
                return HubUnreachableError(
                    f"The hub at {endpoint} failed while {place} was read ({status}). Try again later."
                )
            if status == 403:
                return ConfigError(_gated(place, page, status))
        if refused := first("HfHubHTTPError"):
            return ConfigError(
                f"The hub at {endpoint} refused a part of {place} ({_status(refused)}): {said}. See {page}."
            )
        if first("ConnectionError", *_NO_ANSWER):
            return HubUnreachableError(
                f"The hub at {endpoint} can't be reached, or didn't answer in time, for {place} ({said}). Check the "
                f"network (HF_ENDPOINT names a mirror); or copy the data set elsewhere (hf download --repo-type "
                f"dataset {place.identifier} --local-dir DIR) and give that folder instead."
            )
    return _explain_data(place, said, first)


def _explain_data(place: Any, said: str, first: Any) -> ZeroSearchError | None:
    """What is wrong with the data set itself."""
    script = first("RuntimeError")
    if script is not None and "scripts are no longer supported" in str(script):
        return ConfigError(
            f"{place} is a program, which datasets no longer runs. Read the hub's own conversion of it: put "
            "@refs/convert/parquet behind, or give it as --revision."
        )
    if first("EmptyDatasetError", "DataFilesNotFoundError"):
        return ConfigError(
            f"{place} holds no data files that datasets reads ({said}). Check its page, and the configuration."
        )
    if first(
        "DatasetGenerationError", "DatasetGenerationCastError", "ArrowInvalid", "ArrowTypeError", "JSONDecodeError"
    ):
        return QuestionError(
            f"The data of {place} can't be read: {said}. Try another revision, or its files one by one."
        )
    if first("ValueError", "FileNotFoundError"):
        return ConfigError(f"{place} can't be read: {said}.")
    return None


def _gated(place: Any, page: str, status: int | None) -> str:
    if status == 401:
        return (
            f"{place} is gated, and no token was given that the hub knows (401). Ask for access at {page}, then set "
            "HF_TOKEN (or the variable of --token-env) to a token of that account."
        )
    return (
        f"{place} is gated, and the token's account has no access to it ({status or 403}). Ask for it at {page}; a "
        "fine-grained token must also be allowed to read gated repositories."
    )


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _is_offline() -> bool:
    try:
        from huggingface_hub import constants
    except ImportError:
        return False
    return bool(constants.HF_HUB_OFFLINE)
