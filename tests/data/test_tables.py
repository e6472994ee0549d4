"""Tables from other programs. Every row is read, or the error names the line that is not a row."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from pyarrow import ipc, parquet, table

from decloud_pl.data.formats import tables
from decloud_pl.errors import DatasetError


def texts_of(path: Path) -> list[str]:
    return list(tables.read([path], tables.Columns()).texts)


@pytest.mark.parametrize(
    ("stray", "last"),
    [
        ('"never closed', "x"),
        ('"closed" too early', "x"),
        ('"opened', 'and closed"'),
        ('"opened', '"and again'),
        ('5" disk', 'a "word" in it'),
    ],
)
def test_a_tsv_with_a_stray_quote_has_all_its_rows(tmp_path: Path, stray: str, last: str) -> None:
    path = tmp_path / "a.tsv"
    texts = ["first", stray, *map(str, range(36)), last, "end"]
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{index % 2}\n" for index, text in enumerate(texts)))
    assert texts_of(path) == texts
    path.write_text("label\ttext\n" + "".join(f"{index % 2}\t{text}\n" for index, text in enumerate(texts)))
    assert texts_of(path) == texts


def test_a_tsv_may_have_quoted_texts_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"two\nlines"\t0\n\n"say ""yes"""\t1\n')
    assert texts_of(path) == ["two\nlines", 'say "yes"']
    path.write_text('text\tlabel\n"two\nlines"\t0\n"stray\t1\n')
    with pytest.raises(DatasetError, match=r"a\.tsv has 1 fields in line 2, but its header has 2"):
        texts_of(path)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (['"never closed,0', "b,1"], 3),
        (['"closed" too early,0', "b,1"], 3),
        (['"opened,0', "b,1", 'and closed",1', "c,0"], 3),
        (['"opened,0', 'and closed",1', "c,0"], 3),
        (["b,1", "c,0", '"last,1'], 5),
    ],
)
def test_a_csv_with_a_stray_quote_is_refused_with_its_line(tmp_path: Path, rows: list[str], line: int) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,label", "a,0", *rows]) + "\n")
    with pytest.raises(DatasetError, match=rf"a\.csv has an unclosed or misplaced quote in the row at line {line},"):
        texts_of(path)


def test_a_csv_may_have_long_texts_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    letter = "Dear all,\n\nthanks, bye,\nX"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), (letter, 0), ("x" * 1_000_000, 1), ('5" disk', 0)])
    assert texts_of(path) == [letter, "x" * 1_000_000, '5" disk']
    path.write_text('text,label\n"good film\n",1\n"\n",0\n')
    assert texts_of(path) == ["good film\n", "\n"]
    path.write_text("text,label\na,0\nb,c,1\n")
    with pytest.raises(DatasetError, match=r"a\.csv has 3 fields in line 3, but its header has 2\. Put quotes"):
        texts_of(path)


@pytest.mark.parametrize("names", [("text", "label"), ("body", "label"), ("text", "stars")])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet", "arrow"])
def test_the_columns_are_checked_before_the_rows(tmp_path: Path, suffix: str, names: tuple[str, str]) -> None:
    path = tmp_path / f"a.{suffix}"
    content = table({names[0]: ["a", "b"], names[1]: [0, 1]})
    if suffix == "parquet":
        parquet.write_table(content, path)
    elif suffix == "arrow":
        with ipc.new_stream(path, content.schema) as stream:
            stream.write_table(content)
    elif suffix in ("csv", "tsv"):
        mark = "," if suffix == "csv" else "\t"
        path.write_text(f"{mark.join(names)}\na{mark}0\n")
    else:
        row = json.dumps(dict(zip(names, ("a", 0), strict=True)))
        path.write_text(f"[{row}]" if suffix == "json" else row)
    if names == ("text", "label"):
        tables.check_columns(path, tables.Columns())
    else:
        said = rf"a\.{suffix} has no (text|label) column; it has {names[0]}, {names[1]}\."
        with pytest.raises(DatasetError, match=said):
            tables.check_columns(path, tables.Columns())
    tables.check_columns(path, tables.Columns(*names))
    with pytest.raises(DatasetError, match=rf"has no label column mark; it has {names[0]}, {names[1]}\."):
        tables.check_columns(path, tables.Columns(names[0], "mark"))


@pytest.mark.parametrize("form", ["{}\n{}\nnonsense", "[{}, {}, nonsense"])
def test_the_check_of_json_ends_with_the_row_that_has_the_last_column(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(form.format('{"text": "a", "label": 0}', "{}"))
    tables.check_columns(path, tables.Columns())
    path.write_text(form.format('{"label": 0}', '{"text": "b", "label": 1}'))
    if form.startswith("["):  # more than the first row needs the whole list
        path.write_text(path.read_text().replace("nonsense", "{}]"))
    tables.check_columns(path, tables.Columns())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.parquet", "PAR1 no", "cannot be read as a table"),
        ("a.arrow", "no", "cannot be read as a table"),
        ("a.csv", "", "is empty"),
        ("a.jsonl", "", "it is empty"),
        ("a.jsonl", "5", "line 1 is not a JSON object"),
        ("a.json", "[1]", "element 1 is not a JSON object"),
        ("a.json", "[" * 100_000, "cannot be read as a table"),
    ],
)
def test_the_check_of_a_damaged_table(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DatasetError, match=words):
        tables.check_columns(tmp_path / name, tables.Columns())


@pytest.mark.parametrize(
    ("name", "mark", "words"),
    [
        ("a.csv", ";", "by semicolons instead of commas. Save it with commas"),
        ("a.csv", "\t", "by tabs instead of commas"),
        ("a.csv", "|", "by bars instead of commas"),
        ("a.tsv", ";", "by semicolons instead of tabs"),
        ("a.tsv", ",", "by commas instead of tabs"),
    ],
)
def test_another_separator_is_named(tmp_path: Path, name: str, mark: str, words: str) -> None:
    (tmp_path / name).write_text(f"text{mark}label\na, b{mark}0\nc{mark}1\n")
    for columns in (tables.Columns(), tables.Columns("text", "label")):
        with pytest.raises(DatasetError, match=re.escape(words)):
            tables.read([tmp_path / name], columns)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json"])
def test_another_encoding_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    rows = [("plain", 0), ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", 1)]
    if suffix.startswith("json"):
        text = "\n".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows)
    else:
        mark = "," if suffix == "csv" else "\t"
        text = "\n".join([f"text{mark}label", *(f"{text}{mark}{label}" for text, label in rows)])
    line = 2 if suffix.startswith("json") else 3
    for encoding in ("latin-1", "cp1252"):
        path.write_text(text, encoding=encoding)
        with pytest.raises(DatasetError, match=rf"is not UTF-8 text: see line {line}\. .*iconv -f LATIN1"):
            texts_of(path)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        path.write_text(text, encoding=encoding)
        with pytest.raises(DatasetError, match=r"is UTF-16 text\. .*iconv -f UTF-16"):
            texts_of(path)
    path.write_text(text, encoding="utf-8-sig")
    assert texts_of(path) == [text for text, _ in rows]


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_columns_that_nobody_reads_may_be_anything(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    rows = [
        {"text": "a", "label": 0, "note": None},
        {"text": "b", "label": 1, "note": "late", "late": {"deep": [1]}},
        {"label": 0, "text": "c", "note": 3, "late": "other"},
    ]
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) if suffix == "jsonl" else f"[{','.join(lines)}]")
    assert texts_of(path) == ["a", "b", "c"]
    path.write_text('{"body": "a", "label": 0}\n{"body": "b", "label": 1, "late": 2}\n')
    with pytest.raises(DatasetError, match="has no text column; it has body, label, late"):
        texts_of(path)
    path.write_text('{"text": "a", "label": 0}\n{"text": "b", "label"\n')
    with pytest.raises(DatasetError, match=r"cannot be read as a table: line 2 is not a JSON object\. Correct"):
        texts_of(path)
