"""Runs inside vLLM's server (``--middleware``) when it filters what it says."""

from studio.engines.filtered import Filtered

__all__ = ["Filtered"]
