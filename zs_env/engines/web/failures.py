"""A search that a server failed, as a result."""

from __future__ import annotations

from typing import Any

from zs_env.errors import ServiceError
from zs_env.types import SearchResult

__all__ = ["failed"]


def failed(engine: str, error: Exception, latency_s: float) -> SearchResult:
    """The result of a search that failed; it says so if trying again won't help, or when to."""
    metadata: dict[str, Any] = {}
    said = str(error)
    if not isinstance(error, ServiceError):
        said = f"The search broke ({type(error).__name__}): this is a defect of the engine {engine!r}."
        metadata["retry"] = False
    elif not error.retried and not error.is_down:
        metadata["retry"] = False
    elif error.retry_after_s is not None:
        metadata["retry_after_s"] = error.retry_after_s
    return SearchResult(documents=(), engine=engine, error=said, latency_s=latency_s, metadata=metadata or None)
