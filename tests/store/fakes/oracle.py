"""CIDs for the fakes, from another implementation than the one under test."""

from __future__ import annotations

import aleph_cid


def cid_of(data: bytes, version: int) -> str:
    """The CID that ``ipfs add --cid-version=<version>`` gives, by aleph-cid."""
    hasher = aleph_cid.CidHasher.for_ipfs_v1_raw_leaves() if version == 1 else aleph_cid.CidHasher.for_ipfs()
    hasher.update(data)
    return str(hasher.finalize())
