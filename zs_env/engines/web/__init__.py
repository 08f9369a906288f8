"""Search that others serve: retrieval servers (`wiki`) and SerpAPI (`google`)."""

from __future__ import annotations

from zs_env.engines.web.google import GoogleEngine, GoogleSettings, google
from zs_env.engines.web.protocols import PROTOCOLS
from zs_env.engines.web.wiki import WikiEngine, WikiSettings, wiki

__all__ = ["PROTOCOLS", "GoogleEngine", "GoogleSettings", "WikiEngine", "WikiSettings", "google", "wiki"]
