"""Files as users have them."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from decloud_pl.data.user_files import UserFiles


def write_classes(folder: Path, *names: str, count: int = 5) -> None:
    """Write class folders of gray images. All pixels in the folder at index n have the value n."""
    for value, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.new("L", (8, 8), value).save(folder / name / f"{index}.png")


def sizes(source: UserFiles) -> dict[str, int]:
    return {name: len(source.load(name)) for name in ("train", "held_out", "test")}


def write_table(path: Path, texts: list[str], labels: list[int] | list[str], names: tuple[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(names, row, strict=True)) for row in zip(texts, labels, strict=True)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        from pyarrow import parquet, table

        parquet.write_table(table({names[0]: texts, names[1]: labels, "other": [0] * len(texts)}), path)
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        lines = [
            separator.join(names),
            *(f'"{text}"{separator}{label}' for text, label in zip(texts, labels, strict=True)),
        ]
        path.write_text("\n".join(lines) + "\n")
