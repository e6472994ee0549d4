"""CIDs for the fakes, from an implementation other than the one under test."""

from __future__ import annotations

import aleph_cid


def cid_of(data: bytes, version: int) -> str:
    """Return the CID of ``ipfs add --cid-version=<version>``, computed with aleph-cid."""
    hasher = aleph_cid.CidHasher.for_ipfs_v1_raw_leaves() if version == 1 else aleph_cid.CidHasher.for_ipfs()
    hasher.update(data)
    return str(hasher.finalize())
