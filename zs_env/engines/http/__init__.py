"""What engines share that ask a server over HTTP: connections, retries, limits, and errors that hold no key."""

from __future__ import annotations

from zs_env.engines.http.client import Call, ServiceClient
from zs_env.engines.http.replies import Wording
from zs_env.engines.http.settings import ServiceSettings

__all__ = ["Call", "ServiceClient", "ServiceSettings", "Wording"]
