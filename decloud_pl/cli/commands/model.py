"""Create a model package, or show the content of a model file.

A package is a safetensors file with weights and a description of the architecture, so a trainer needs only its CID.
Showing a file never runs code in it. Architectures: simple_cnn, resnet, vit_tiny, mlp, text_bag, text_transformer,
every classification model of torchvision by its name (without its pretrained weights), and plug-ins of the entry point
group decloud_pl.architectures.

Examples:
  decloud-trainer model pack model.safetensors --architecture resnet --set depth=18 --set num_classes=10
  decloud-trainer model pack texts.safetensors --architecture text_bag --set num_classes=4 --seed 7 --json
  decloud-trainer model pack mine.safetensors --architecture simple_cnn --weights trained.pt
  decloud-trainer model inspect model.safetensors
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decloud_pl.cli.arguments import FILE, as_json, group
from decloud_pl.errors import UsageError

if TYPE_CHECKING:
    from decloud_pl.models.quarantine.opening import Inspection


run = group(__doc__)


@run.command()
@click.argument("file", type=FILE, metavar="FILE", help="the package to write")
@click.option("--architecture", required=True, metavar="NAME")
@click.option("--set", "given", multiple=True, metavar="KEY=VALUE", help="a hyper-parameter (repeatable)")
@click.option(
    "--input",
    "of_input",
    multiple=True,
    metavar="KEY=VALUE",
    help="a value of the input: size, mean, std for images; vocabulary, length for texts",
)
@click.option("--weights", type=FILE, metavar="FILE.pt", help="a state dict (default: random weights)")
@click.option("--seed", type=int, default=0, metavar="N", help="seed of random weights (default 0)")
@as_json
def pack(
    file: Path,
    architecture: str,
    given: Sequence[str],
    of_input: Sequence[str],
    weights: Path | None,
    seed: int,
    as_json: bool,
) -> int:
    """Create a model package."""
    from decloud_pl.models.make import make_package, make_spec

    spec = make_spec(architecture, _pairs("--set", given), _pairs("--input", of_input))
    if weights is not None:
        _existing(weights)
    if not file.absolute().parent.is_dir():
        raise UsageError(f"The folder {file.parent} does not exist.", fix="Create it first.")
    make_package(file, spec, weights=weights, seed=seed)
    return _show(file, as_json=as_json)


@run.command()
@click.argument("file", type=FILE, metavar="FILE")
@as_json
def inspect(file: Path, as_json: bool) -> int:
    """Show the content of a package or a .pt file."""
    return _show(_existing(file), as_json=as_json)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"The file {path} does not exist.", fix="Give the path of a model package or a .pt file.")
    return path


def _pairs(option: str, given: Sequence[str]) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` texts. A value that is valid JSON, such as a number, is decoded."""
    pairs: dict[str, Any] = {}
    for text in given:
        key, mark, value = text.partition("=")
        if not mark or not key:
            raise UsageError(f"{option} needs KEY=VALUE (got {text!r}).", fix=f"Example: {option} num_classes=10.")
        try:
            pairs[key] = json.loads(value)
        except ValueError:
            pairs[key] = value
    return pairs


def _show(path: Path, *, as_json: bool) -> int:
    import tempfile

    from decloud_pl.legible import legible
    from decloud_pl.models.limits import LONGEST_NAME
    from decloud_pl.models.quarantine.opening import inspect_file
    from decloud_pl.store.ipfs.unixfs import cid_of_file

    with tempfile.TemporaryDirectory() as folder:
        found = inspect_file(path, Path(folder) / "checked")
    document = {"file": str(path), "cid": str(cid_of_file(path)), "bytes": path.stat().st_size, **_described(found)}
    if as_json:
        print(json.dumps(document))
        return 0
    print(f"{path}: {document['bytes']:,} bytes, CID {document['cid']}")
    if found.model is None:
        print(f"Not a base model: {found.problem}")
    else:
        spec = found.model.spec
        parameters = ", ".join(legible(f"{key}={value}", LONGEST_NAME) for key, value in spec.hyper_parameters.items())
        given = ", ".join(f"{key} {value}" for key, value in dataclasses.asdict(spec.input).items())
        architecture = legible(spec.architecture, LONGEST_NAME)
        print(f"{architecture} ({parameters or 'defaults'}), {found.model.classes} classes")
        print(f"Input: {spec.input.kind}, {given}")
    print(f"{document['elements']:,} numbers in {len(found.tensors)} tensors:")
    for name, dtype, shape in found.tensors:
        print(f"  {legible(name, LONGEST_NAME)}  {dtype} {'×'.join(map(str, shape)) or 'scalar'}")
    return 0


def _described(found: Inspection) -> dict[str, Any]:
    model = found.model
    return {
        "format": found.format,
        "architecture": None if model is None else model.spec.architecture,
        "hyper_parameters": None if model is None else model.spec.hyper_parameters,
        "input": None if model is None else {"kind": model.spec.input.kind, **dataclasses.asdict(model.spec.input)},
        "classes": None if model is None else model.classes,
        "problem": found.problem or None,
        "elements": sum(math.prod(shape) for _, _, shape in found.tensors),
        "tensors": [{"name": name, "dtype": dtype, "shape": list(shape)} for name, dtype, shape in found.tensors],
    }
