"""Encodes with a published IDL (https://www.anchor-lang.com/docs/basics/idl), independently of the package's codecs."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

_FOLDER = Path(__file__).parents[2] / "golden" / "idl"
_INTEGERS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "i64": "<q"}


class Idl:
    """An IDL.

    Values are integers, texts, `Pubkey`s, lists, dictionaries (structs) and names of variants (enums).
    """

    def __init__(self, name: str) -> None:
        document = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        self.program_id = Pubkey.from_string(document["address"])
        self.instructions = {entry["name"]: entry for entry in document["instructions"]}
        self.accounts = {entry["name"]: bytes(entry["discriminator"]) for entry in document["accounts"]}
        self.events = {entry["name"]: bytes(entry["discriminator"]) for entry in document["events"]}
        self.errors = {entry["code"]: entry["name"] for entry in document["errors"]}
        self.types = {entry["name"]: entry["type"] for entry in document["types"]}

    # Values

    def encode(self, kind: Any, value: Any) -> bytes:
        """Return the Borsh bytes of a value; ``kind`` is a type as in the IDL."""
        match kind:
            case "bool":
                return bytes([value])
            case "pubkey":
                return bytes(value)
            case "string":
                text: bytes = value.encode()
                return self.encode("u32", len(text)) + text
            case {"vec": item}:
                return self.encode("u32", len(value)) + b"".join(self.encode(item, entry) for entry in value)
            case {"defined": {"name": name}}:
                return self._defined(self.types[name], value)
        return struct.pack(_INTEGERS[kind], value)

    def _defined(self, kind: Mapping[str, Any], value: Any) -> bytes:
        if kind["kind"] == "enum":
            return bytes([[variant["name"] for variant in kind["variants"]].index(value)])
        return b"".join(self.encode(field["type"], value[field["name"]]) for field in kind["fields"])

    def sample(self, kind: Any, random: Random) -> Any:
        """Return a random value of a type."""
        match kind:
            case "bool":
                return random.random() < 0.5
            case "pubkey":
                return Pubkey.from_bytes(random.randbytes(32))
            case "string":
                return random.choice(["", "bafy", "Qm" * 23, "é"])
            case {"vec": item}:
                return [self.sample(item, random) for _ in range(random.randrange(4))]
            case {"defined": {"name": name}} if self.types[name]["kind"] == "enum":
                return random.choice(self.types[name]["variants"])["name"]
            case {"defined": {"name": name}}:
                return {field["name"]: self.sample(field["type"], random) for field in self.types[name]["fields"]}
        bits = int(kind[1:])
        return random.getrandbits(bits) - (2 ** (bits - 1) if kind[0] == "i" else 0)

    # Accounts, events and instructions

    def account(self, name: str, value: Mapping[str, Any]) -> bytes:
        """Return the bytes of an account, without spare bytes."""
        return self.accounts[name] + self._defined(self.types[name], value)

    def event(self, name: str, value: Mapping[str, Any]) -> bytes:
        """Return the bytes of an event, as the program logs them."""
        return self.events[name] + self._defined(self.types[name], value)

    def instruction(self, name: str, arguments: Mapping[str, Any], who: Mapping[str, Pubkey]) -> Instruction:
        """Return an instruction with the accounts in ``who``. An optional account that is not in ``who`` is absent."""
        entry = self.instructions[name]
        data = b"".join(self.encode(argument["type"], arguments[argument["name"]]) for argument in entry["args"])
        metas = [self._meta(account, entry, arguments, who) for account in entry["accounts"]]
        return Instruction(self.program_id, bytes(entry["discriminator"]) + data, metas)

    def _meta(
        self,
        account: Mapping[str, Any],
        entry: Mapping[str, Any],
        arguments: Mapping[str, Any],
        who: Mapping[str, Pubkey],
    ) -> AccountMeta:
        if account.get("optional") and account["name"] not in who:
            return AccountMeta(self.program_id, is_signer=False, is_writable=False)
        if "pda" in account:
            seeds = [self._seed(seed, entry, arguments, who) for seed in account["pda"]["seeds"]]
            address = Pubkey.find_program_address(seeds, self.program_id)[0]
        elif "address" in account:
            address = Pubkey.from_string(account["address"])
        else:
            address = who[account["name"]]
        return AccountMeta(address, account.get("signer", False), account.get("writable", False))

    def _seed(
        self,
        seed: Mapping[str, Any],
        entry: Mapping[str, Any],
        arguments: Mapping[str, Any],
        who: Mapping[str, Pubkey],
    ) -> bytes:
        if seed["kind"] == "const":
            return bytes(seed["value"])
        if seed["kind"] == "account":
            return bytes(who[seed["path"].rpartition(".")[2]])  # "submission.trainer" is a field, by its name
        kinds = {argument["name"]: argument["type"] for argument in entry["args"]}
        return self.encode(kinds[seed["path"]], arguments[seed["path"]])
