"""Accounts of the newest revision, for chains that no program has made."""

from __future__ import annotations

from decloud_pl.chain.dialects.v1_0.accounts import encode_round

__all__ = ["encode_round"]
