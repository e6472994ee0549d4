"""Pinata's keys: kept out of every text that this program or a library may print."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from decloud_pl.errors import ConfigError

if TYPE_CHECKING:
    from requests import PreparedRequest

_WRITABLE = re.compile(r"[\x21-\x7e]+")
_HIDDEN = "[hidden]"
LOGIN = "PINATA_JWT, or PINATA_API_KEY and PINATA_SECRET_KEY"


@dataclass(frozen=True, slots=True)
class PinataCredentials:
    """What Pinata gave the user: a key with its secret, a JWT, or both. Never shown by ``repr``.

    Raises:
        ConfigError: none of them, half of a pair, or one with characters that no key has.
    """

    api_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    jwt: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for name in ("api_key", "secret_key", "jwt"):
            value = getattr(self, name).strip()
            object.__setattr__(self, name, value)
            # A line break in a header would end up, with the key, in the HTTP library's message.
            if value and not _WRITABLE.fullmatch(value):
                raise ConfigError(
                    f"The Pinata credential {name} has characters that no key has.", fix="Copy it again, in one line."
                )
        if bool(self.api_key) != bool(self.secret_key):
            missing = "PINATA_SECRET_KEY" if self.api_key else "PINATA_API_KEY"
            raise ConfigError("Only half of Pinata's pair of keys is set.", fix=f"Set {missing} too.")
        if not (self.jwt or self.api_key):
            kept = "keep one with `decloud-trainer config --set pinata_jwt=-`"
            raise ConfigError(
                "Pinata needs credentials.",
                fix=f"Set {LOGIN}, or {kept}; app.pinata.cloud gives them out. With an IPFS node: storage=kubo.",
            )

    def redact(self, text: str) -> str:
        """A text without the credentials, should a server repeat them."""
        for secret in (self.secret_key, self.jwt, self.api_key):
            if secret:
                text = text.replace(secret, _HIDDEN)
        return text

    def sign(self, request: PreparedRequest) -> PreparedRequest:
        """Adds the credentials to a request as it leaves: the JWT where there is one, else the pair of keys."""
        if self.jwt:
            request.headers["Authorization"] = f"Bearer {self.jwt}"
        else:
            request.headers["pinata_api_key"] = self.api_key
            request.headers["pinata_secret_api_key"] = self.secret_key
        return request
