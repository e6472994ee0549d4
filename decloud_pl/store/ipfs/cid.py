"""Content identifiers, parsed strictly: a CID from the chain is untrusted text.

This package accepts only CIDs that it can verify: CIDv0 (base58btc, dag-pb) and CIDv1 (base32 lower case, raw or
dag-pb), both with a 32-byte SHA-256 (https://github.com/multiformats/cid). It accepts a CID only in its
canonical form, the `str` of the parsed CID. That form has only letters and digits, so it is safe in a path and a URL.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

import base58

from decloud_pl.errors import IntegrityError, InvalidCid

RAW = 0x55
DAG_PB = 0x70
_SHA2_256 = b"\x12\x20"
_DIGEST_SIZE = 32
_V0_LENGTH = 46
_V1_LENGTH = 59
_LONGEST_SHOWN = 80


def malformed(message: str) -> IntegrityError:
    """Return the error for data that does not match its CID, or is not a valid block, CID or archive."""
    return IntegrityError(message, fix="The source is faulty or malicious; use another one.")


@dataclass(frozen=True, slots=True)
class Profile:
    """The rules by which a file is split into blocks. They determine the CID of the file.

    Leaves of ``chunk_size`` bytes are stored as they are (``raw_leaves``) or wrapped in dag-pb. A node has at most
    ``width`` children.
    """

    name: str
    cid_version: int
    raw_leaves: bool
    chunk_size: int
    width: int


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("kubo-v1", 1, raw_leaves=True, chunk_size=262_144, width=174),
        Profile("kubo-v0", 0, raw_leaves=False, chunk_size=262_144, width=174),
        Profile("v1-1m-1024", 1, raw_leaves=True, chunk_size=1_048_576, width=1024),
        Profile("v1-1m-174", 1, raw_leaves=True, chunk_size=1_048_576, width=174),
    )
}
"""The layouts in use: ``ipfs add --cid-version=1``, ``ipfs add``, Kubo's unixfs-v1-2025, test-cid-v1."""

DEFAULT_PROFILE = "kubo-v1"


@dataclass(frozen=True, slots=True)
class Cid:
    """A content identifier. ``digest`` is the SHA-256 of the block that the CID identifies."""

    version: int
    codec: int
    digest: bytes

    @classmethod
    def of_block(cls, version: int, codec: int, block: bytes | bytearray | memoryview) -> Cid:
        return cls(version, codec, hashlib.sha256(block).digest())

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Parse a CID in canonical form.

        Raises:
            InvalidCid: the text is not a CID that this package can verify.
        """
        try:
            cid = cls._parse(text)
        except (ValueError, IntegrityError):
            cid = None
        if cid is None or str(cid) != text:
            shown = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
            raise InvalidCid(
                f"{shown!r} is not a supported CID.",
                fix="Use a CID with SHA-256: Qm… (version 0), or bafy… or bafk… (version 1).",
            )
        return cid

    @classmethod
    def _parse(cls, text: str) -> Cid | None:
        if len(text) == _V0_LENGTH and text.startswith("Qm"):
            return cls.from_bytes(base58.b58decode(text))[0]
        if len(text) == _V1_LENGTH and text.startswith("b"):
            encoded = text[1:].upper()
            return cls.from_bytes(base64.b32decode(encoded + "=" * (-len(encoded) % 8)))[0]
        return None

    @classmethod
    def from_bytes(cls, data: bytes) -> tuple[Cid, int]:
        """Read the binary CID at the start of ``data``; return the CID and the offset after it.

        Raises:
            IntegrityError: the version, codec or hash is unsupported, or the data is too short. The error is not
                `InvalidCid`, because the invalid data is the block or archive that contains the CID.
        """
        head = data[:4]
        if head[:2] == _SHA2_256:
            version, codec, start = 0, DAG_PB, 2
        elif len(head) == 4 and head[0] == 1 and head[1] in (RAW, DAG_PB) and head[2:] == _SHA2_256:
            version, codec, start = 1, head[1], 4
        else:
            raise malformed("The data contains a CID with an unsupported version, codec or hash.")
        digest = data[start : start + _DIGEST_SIZE]
        if len(digest) != _DIGEST_SIZE:
            raise malformed("The data ends within a CID.")
        return cls(version, codec, digest), start + _DIGEST_SIZE

    def __bytes__(self) -> bytes:
        prefix = b"" if self.version == 0 else bytes((1, self.codec))
        return prefix + _SHA2_256 + self.digest

    def __str__(self) -> str:
        if self.version == 0:
            return base58.b58encode(bytes(self)).decode()
        return "b" + base64.b32encode(bytes(self)).decode().lower().rstrip("=")

    def matches(self, block: bytes | bytearray | memoryview) -> bool:
        """Return whether the block has this CID."""
        return hashlib.sha256(block).digest() == self.digest
