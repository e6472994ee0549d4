"""Pinata's credentials. They never appear in text that this program or a library may print."""

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
    """The user's credentials: a key with its secret, a JWT, or both. ``repr`` does not show them.

    Raises:
        ConfigError: the credentials are missing or incomplete, or contain characters that are invalid in a key.
    """

    api_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    jwt: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for name in ("api_key", "secret_key", "jwt"):
            value = getattr(self, name).strip()
            object.__setattr__(self, name, value)
            # With a line break in a header, the HTTP library would raise an error that contains the key.
            if value and not _WRITABLE.fullmatch(value):
                raise ConfigError(
                    f"The Pinata credential {name} contains invalid characters.",
                    fix="Copy it again, as one line.",
                )
        if bool(self.api_key) != bool(self.secret_key):
            missing = "PINATA_SECRET_KEY" if self.api_key else "PINATA_API_KEY"
            raise ConfigError(
                f"{missing} is not set, but the other key of Pinata's pair of keys is set.", fix=f"Set {missing}."
            )
        if not (self.jwt or self.api_key):
            kept = "store a JWT with `decloud-trainer config --set pinata_jwt=-`"
            raise ConfigError(
                "The credentials for Pinata are not set.",
                fix=f"Set {LOGIN}, or {kept}. Create them at app.pinata.cloud. To use an IPFS node, set storage=kubo.",
            )

    def redact(self, text: str) -> str:
        """Hide the credentials in a text from a server, which may quote them."""
        for secret in (self.secret_key, self.jwt, self.api_key):
            if secret:
                text = text.replace(secret, _HIDDEN)
        return text

    def sign(self, request: PreparedRequest) -> PreparedRequest:
        """Add the credentials to a request: the JWT if set, otherwise the pair of keys."""
        if self.jwt:
            request.headers["Authorization"] = f"Bearer {self.jwt}"
        else:
            request.headers["pinata_api_key"] = self.api_key
            request.headers["pinata_secret_api_key"] = self.secret_key
        return request
