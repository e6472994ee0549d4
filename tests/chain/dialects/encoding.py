"""Encodes accounts of the newest revision for fake chains."""

from __future__ import annotations

from decloud_pl.chain.dialects.v1_0.accounts import encode_round

__all__ = ["encode_round"]
