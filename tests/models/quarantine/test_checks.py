"""The checks of the quarantine child refuse each kind of bad file. They run here without a child process."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from decloud_pl.errors import ModelError
from decloud_pl.models import ImageInput, ModelSpec, read_spec, save
from decloud_pl.models.quarantine.child import Refused, check_base, check_submission
from decloud_pl.models.registry import build, default_input

State = dict[str, torch.Tensor]


def refusal_of_base(tmp_path: Path, content: object) -> str:
    path = tmp_path / "base.pt"
    torch.save(content, path)
    return refusal_of_file(path)


def refusal_of_file(path: Path) -> str:
    out = path.with_name("out")
    with pytest.raises((Refused, ModelError)) as caught:
        check_base(path, out)
    assert not out.exists()
    return str(caught.value)


def refusal_of_submission(tmp_path: Path, packaged: Path, content: object) -> str:
    path, out = tmp_path / "submission.pt", tmp_path / "out"
    torch.save(content, path)
    with pytest.raises((Refused, ModelError)) as caught:
        check_submission(path, packaged, out)
    assert not out.exists()
    return str(caught.value)


def test_a_package_is_handed_on_as_it_is(tmp_path: Path, packaged: Path) -> None:
    assert check_base(packaged, tmp_path / "out") == {"classes": 4}
    assert (tmp_path / "out").read_bytes() == packaged.read_bytes()


def test_half_precision_and_odd_layouts_become_plain_weights(tmp_path: Path, state: State) -> None:
    state["conv2.weight"] = state["conv2.weight"].half()
    state["conv3.weight"] = state["conv3.weight"].to(memory_format=torch.channels_last)
    state["conv1.bias"] = torch.zeros(64)[::2]
    torch.save(state, tmp_path / "base.pt")
    assert check_base(tmp_path / "base.pt", tmp_path / "out") == {"classes": 4}
    assert read_spec(tmp_path / "out") == ModelSpec("simple_cnn", {"num_classes": 4}, ImageInput())
    weights = load_file(str(tmp_path / "out"))
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert torch.equal(weights["conv2.weight"], state["conv2.weight"].float())
    assert torch.equal(weights["conv3.weight"], state["conv3.weight"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite(tmp_path: Path, state: State, packaged: Path, value: float) -> None:
    bias = torch.zeros(32)
    bias[17] = value
    assert "conv1.bias holds values that are not finite" in refusal_of_base(tmp_path, {**state, "conv1.bias": bias})
    assert "conv1.bias holds values" in refusal_of_submission(tmp_path, packaged, {"conv1.bias": bias})
    sparse = {"conv1.bias": bias.to_sparse()}
    assert "conv1.bias holds values" in refusal_of_submission(tmp_path, packaged, sparse)


def test_a_double_that_a_float_cannot_hold(tmp_path: Path, packaged: Path) -> None:
    entries = {"fc2.bias": torch.full((4,), 1e300, dtype=torch.float64)}
    assert "not finite" in refusal_of_submission(tmp_path, packaged, entries)


def test_names_and_shapes_of_a_base_model(tmp_path: Path, state: State) -> None:
    without = {name: value for name, value in state.items() if name != "fc1.bias"}
    assert "no supported network" in refusal_of_base(tmp_path, without)
    assert "no supported network" in refusal_of_base(tmp_path, {**state, "fc3.bias": torch.zeros(1)})
    wrong = {**state, "conv1.weight": torch.zeros(32, 1, 3, 3)}
    assert "conv1.weight has the shape (32, 1, 3, 3), not (32, 3, 3, 3)" in refusal_of_base(tmp_path, wrong)
    integers = {**state, "fc2.bias": torch.zeros(4, dtype=torch.int64)}
    assert "fc2.bias has the type torch.int64, not torch.float32" in refusal_of_base(tmp_path, integers)


def test_names_and_shapes_of_a_submission(tmp_path: Path, packaged: Path) -> None:
    assert "shape (5,), not (4,)" in refusal_of_submission(tmp_path, packaged, {"fc2.bias": torch.zeros(5)})


@pytest.mark.parametrize(
    "others",
    [
        {"fc9.bias": torch.full((4,), float("nan"))},
        {"fc9.bias": torch.zeros(1).expand(2**40)},
        {"epoch": 3, "loss": 0.5, "note": "text", "history": {"loss": [0.5]}},
        {1: torch.zeros(4)},
        {"x" * 10_000: torch.zeros(4), "\x1b[2J": torch.zeros(4)},
    ],
    ids=["tensor", "terabyte", "values", "numbered", "odd-names"],
)
def test_entries_of_a_submission_that_no_tensor_of_the_model_has_are_dropped(
    tmp_path: Path, packaged: Path, others: dict[object, object]
) -> None:
    """Validators read an entry for each tensor of the model and do not look at others."""
    path, out = tmp_path / "submission.pt", tmp_path / "out"
    named: list[State] = [{"fc2.bias": torch.ones(4)}, {}]
    for entries in named:
        torch.save(others | dict(entries), path)
        assert check_submission(path, packaged, out) == {"tensors": len(entries)}
        assert load_file(str(out)).keys() == entries.keys()


@pytest.mark.parametrize(
    "content",
    [{}, [1], torch.zeros(3), {"fc2.bias": 1.0}, {"fc2.bias": {}}],
    ids=["empty", "list", "tensor", "number", "nested"],
)
def test_something_else_than_tensors_by_name(tmp_path: Path, packaged: Path, content: object) -> None:
    assert "dictionary" in refusal_of_submission(tmp_path, packaged, content)


@pytest.mark.parametrize(
    "entry",
    [
        torch.zeros(4, dtype=torch.complex64),
        torch.zeros(4, device="meta"),
    ],
    ids=["complex", "meta"],
)
def test_kinds_of_tensors_that_are_not_accepted(tmp_path: Path, packaged: Path, entry: torch.Tensor) -> None:
    sentence = refusal_of_submission(tmp_path, packaged, {"fc2.bias": entry})
    known = ("booleans are accepted", "must be dense", "invalid tensors", "other than supported tensors")
    assert any(reason in sentence for reason in known)


def test_a_sparse_tensor_that_points_outside_itself(tmp_path: Path, packaged: Path) -> None:
    forged = torch.sparse_coo_tensor(torch.tensor([[900]]), torch.ones(1), (4,), check_invariants=False)
    sentence = refusal_of_submission(tmp_path, packaged, {"fc2.bias": forged})
    assert sentence == "The file is damaged or holds invalid tensors."


def test_a_few_bytes_that_stand_for_a_huge_tensor(tmp_path: Path, state: State, packaged: Path) -> None:
    huge = torch.zeros(1).expand(2**40)
    assert "shape" in refusal_of_submission(tmp_path, packaged, {"fc2.bias": huge})
    sparse = torch.sparse_coo_tensor(torch.zeros(1, 0, dtype=torch.int64), torch.zeros(0), (2**40,))
    assert "shape" in refusal_of_submission(tmp_path, packaged, {"fc2.bias": sparse})
    wide = {**state, "fc2.weight": torch.zeros(1, 1).expand(10**9, 512), "fc2.bias": torch.zeros(1).expand(10**9)}
    assert "declare more data" in refusal_of_base(tmp_path, wide)


def test_a_compressed_archive(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "plain.pt")
    bomb = tmp_path / "base.pt"
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    assert "compressed" in refusal_of_file(bomb)


def test_an_archive_whose_members_share_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 1000)
        for number in range(50):  # more entries for the same bytes, only in the archive's directory
            twin = zipfile.ZipInfo(f"archive/data/{number}")
            first = archive.infolist()[0]
            twin.header_offset, twin.CRC = first.header_offset, first.CRC
            twin.compress_size = twin.file_size = 1000
            archive.filelist.append(twin)
    assert "declares more data" in refusal_of_file(path)


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.999])
def test_a_truncated_state_dict(tmp_path: Path, state: State, share: float) -> None:
    path = tmp_path / "base.pt"
    torch.save(state, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "truncated" in refusal_of_file(path)


def test_a_bare_pickle_is_not_even_read(tmp_path: Path, packaged: Path, state: State) -> None:
    path = tmp_path / "base.pt"
    path.write_bytes(pickle.dumps({"a": 1}))
    assert "neither a model package nor" in refusal_of_file(path)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    with pytest.raises(Refused, match=r"not written by torch\.save"):
        check_submission(path, packaged, tmp_path / "out")


def test_a_name_that_is_too_long_is_named_as_such(tmp_path: Path) -> None:
    assert "longer than 256 characters" in refusal_of_base(tmp_path, {"x" * 257: torch.zeros(4)})


def test_packages_of_strangers(tmp_path: Path, state: State, packaged: Path) -> None:
    path = tmp_path / "base.safetensors"
    path.write_bytes(packaged.read_bytes()[:-1])
    assert "truncated" in refusal_of_file(path)
    save_file(state, str(path))
    assert "no model description" in refusal_of_file(path)
    save(path, ModelSpec("resnext", {}), state)
    assert "Unknown architecture 'resnext'" in refusal_of_file(path)
    save(path, ModelSpec("simple_cnn", {"num_classes": 5}), state)
    assert "not (5,)" in refusal_of_file(path)
    save(path, ModelSpec("simple_cnn", {"num_classes": 4}), {"fc2.bias": torch.zeros(4)})
    assert "lacks the tensor" in refusal_of_file(path)


def test_a_package_whose_network_cannot_take_its_own_input(tmp_path: Path, state: State) -> None:
    path = tmp_path / "base.safetensors"
    save(path, ModelSpec("simple_cnn", {"num_classes": 4}, ImageInput(size=64)), state)
    assert "fails on the input" in refusal_of_file(path)


def with_header(path: Path, tensors: dict[str, object], data: bytes = b"") -> Path:
    header = {"__metadata__": ModelSpec("simple_cnn", {"num_classes": 4}).to_metadata(), **tensors}
    content = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + data)
    return path


@pytest.mark.parametrize(
    ("dtype", "shape", "offsets"),
    [
        ("F32", [2**62, 2**62], [0, 16]),
        ("F32", [-4], [0, 16]),
        ("F32", [4.0], [0, 16]),
        ("F32", [4], [16, 32]),  # a gap before it
        ("F32", [4], [0, 2**62]),
        ("F32", [4], [8, 0]),
        ("WAT", [4], [0, 16]),
    ],
)
def test_a_header_that_lies(tmp_path: Path, dtype: str, shape: list[float], offsets: list[int]) -> None:
    tensors: dict[str, object] = {"fc2.bias": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}
    assert "truncated or damaged" in refusal_of_file(with_header(tmp_path / "base", tensors, bytes(16)))


def test_tensors_that_overlap(tmp_path: Path) -> None:
    one = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    overlapping: dict[str, object] = {"fc2.bias": one, "other": one}
    assert "truncated or damaged" in refusal_of_file(with_header(tmp_path / "base", overlapping, bytes(16)))


@pytest.mark.parametrize("name", ["fc2\x1b[2J\n\x07.bias", "x" * 1_000_000], ids=["control", "long"])
def test_a_name_that_is_no_name_is_told_in_a_short_line(tmp_path: Path, name: str) -> None:
    tensors: dict[str, object] = {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    sentence = refusal_of_file(with_header(tmp_path / "base", tensors, bytes(16)))
    assert "that the model does not have" in sentence
    assert sentence.isprintable()
    assert len(sentence) < 200


def with_pickle(path: Path, stream: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + stream + b".")
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return path


def test_pickles_that_nest_or_multiply_without_end(tmp_path: Path) -> None:
    doubled = b")q\x00" + b"(h\x00h\x00tq\x00" * 60
    for stream in (b"(" * 100_000 + b"l" * 100_000, b")" + b"\x85" * 100_000, doubled, b"}" + doubled + b"K\x01s"):
        sentence = refusal_of_file(with_pickle(tmp_path / "base.pt", stream))
        assert "not executed" in sentence or "dictionary" in sentence


@pytest.mark.parametrize(
    "stream",
    [
        b"(" * 20_000_000,
        b"(" * 10_000_000,
        b"cbuiltins\nbytearray\nJ\x00\x00\x00\x7f\x85R",
        b"cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x80\x00\x85R",
        b"\x96" + struct.pack("<Q", 2 << 30),
        b"\x8b" + struct.pack("<i", 1 << 24) + bytes(1 << 20),
        b"L" + b"9" * 10_000_000 + b"L\n",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00latin1tR",
        b"ctorch\nUntypedStorage\nJ\x00\x00\x00\x7f\x85R",
        b"c" + b"torch" * 1_000_000 + b"\nSize\n",
    ],
    ids=["marks", "fewer-marks", "bytearray", "2-GiB", "bytearray8", "long4", "digits", "encode", "storage", "module"],
)
def test_a_pickle_that_says_more_than_tensors_costs_nothing(tmp_path: Path, stream: bytes) -> None:
    path = with_pickle(tmp_path / "base.pt", stream)
    before = time.process_time()
    assert refusal_of_file(path) == "The file holds objects other than supported tensors. Code in it was not executed."
    assert time.process_time() - before < 2


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_whatever_torch_saves_of_a_model_is_read(tmp_path: Path, packaged: Path, state: State, dtype: str) -> None:
    bias = torch.arange(4).to(getattr(torch, dtype))
    ways: list[dict[str, torch.Tensor]] = [
        {"fc2.bias": bias},
        {"fc2.bias": bias.to_sparse()},
        {"fc2.bias": torch.nn.Parameter(bias)},
        {"fc2.bias": torch.nn.Parameter(bias.to_sparse())},
        OrderedDict({"fc2.bias": bias}),
    ]
    for way in ways:
        torch.save(way, tmp_path / "submission.pt")
        assert check_submission(tmp_path / "submission.pt", packaged, tmp_path / "out") == {"tensors": 1}
        assert torch.equal(load_file(str(tmp_path / "out"))["fc2.bias"], bias.float())


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "int16", "int8"])
def test_whole_numbers_that_torch_saves_are_read(tmp_path: Path, packaged: Path, dtype: str) -> None:
    torch.save({"fc2.bias": torch.ones(4).to(getattr(torch, dtype))}, tmp_path / "submission.pt")
    assert check_submission(tmp_path / "submission.pt", packaged, tmp_path / "out") == {"tensors": 1}


def test_a_module_that_keeps_its_variables_and_its_versions_is_read(tmp_path: Path) -> None:
    torch.save(build("simple_cnn", {"num_classes": 4}).state_dict(keep_vars=True), tmp_path / "base.pt")
    assert check_base(tmp_path / "base.pt", tmp_path / "out") == {"classes": 4}


@pytest.mark.slow
def test_a_header_of_a_hundred_thousand_tensors(tmp_path: Path) -> None:
    header = {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(100_000)}
    data = json.dumps(header).encode()
    path = tmp_path / "base.safetensors"
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    assert "neither a model package" in refusal_of_file(path)
    few = io.BytesIO()
    torch.save({f"t{number}": torch.zeros(0) for number in range(20_200)}, few)
    path.write_bytes(few.getvalue())
    assert "declares more data" in refusal_of_file(path)


OPEN = """
import sys
from pathlib import Path
from decloud_pl.models.quarantine.child import check_base
for path in sys.argv[1:]:
    check_base(Path(path), Path(path + ".out"))
    print("torch._dynamo" in sys.modules)
"""


@pytest.mark.slow
def test_no_small_model_costs_the_import_of_torchs_compiler(tmp_path: Path) -> None:
    """The compiler's import takes a second, as long as all other work in quarantine together."""
    paths = []
    for name in ("simple_cnn", "mlp", "text_bag", "text_transformer"):
        paths.append(tmp_path / name)
        spec = ModelSpec(name, {"num_classes": 3}, default_input(name, {"num_classes": 3}))
        save(paths[-1], spec, build(name, spec.hyper_parameters).state_dict())
    ended = subprocess.run([sys.executable, "-c", OPEN, *paths], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n" * 4
