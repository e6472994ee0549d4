"""Every architecture can be built, packaged, opened in quarantine and trained. Packages cannot exceed the limits."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from decloud_pl.errors import ModelError
from decloud_pl.models import ModelSpec, TextInput, read_spec, save
from decloud_pl.models.inputs import ImageInput
from decloud_pl.models.make import make_package, make_spec
from decloud_pl.models.quarantine.child import Refused, check_base
from decloud_pl.models.quarantine.opening import open_base_model
from decloud_pl.models.registry import ARCHITECTURES, build, default_input, known

SMALL: dict[str, dict[str, object]] = {
    "simple_cnn": {"num_classes": 3},
    "resnet": {"num_classes": 3, "depth": 18},
    "vit_tiny": {"num_classes": 3, "image_size": 16, "patch_size": 8, "width": 24, "depth": 1, "heads": 2},
    "mlp": {"num_classes": 3, "image_size": 8, "hidden": 16, "layers": 1},
    "text_bag": {"num_classes": 3, "vocabulary": 500, "width": 8},
    "text_transformer": {"num_classes": 3, "vocabulary": 500, "length": 12, "width": 16, "depth": 1, "heads": 2},
    "mobilenet_v3_small": {"num_classes": 3},
    "googlenet": {"num_classes": 3},
}


def batch(name: str) -> torch.Tensor:
    given = default_input(name, SMALL[name])
    if isinstance(given, TextInput):
        numbers = torch.randint(1, given.vocabulary, (6, given.length))
        numbers[0] = 0  # an empty text
        numbers[1, 3:] = 0
        return numbers
    return torch.randn(6, 3, given.size, given.size)


def test_every_architecture_is_tried() -> None:
    assert set(ARCHITECTURES) <= set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_a_step_of_training_lowers_the_loss(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, SMALL[name]).train()
    samples, labels = batch(name), torch.tensor([0, 1, 2, 0, 1, 2])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # so that the losses before and after are of the same network
    losses = []
    for _ in range(4):
        loss = nn.functional.cross_entropy(network(samples), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", SMALL)
def test_a_package_passes_quarantine(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(name, dict(SMALL[name]), default_input(name, SMALL[name]))
    save(tmp_path / "model", spec, build(name, spec.hyper_parameters).state_dict())
    assert check_base(tmp_path / "model", tmp_path / "out") == {"classes": 3}
    assert read_spec(tmp_path / "out") == spec
    assert (tmp_path / "out").read_bytes() == (tmp_path / "model").read_bytes()


@pytest.mark.parametrize("name", ["text_bag", "text_transformer"])
def test_padding_changes_nothing(name: str) -> None:
    network = build(name, SMALL[name]).eval()
    short = torch.tensor([[5, 6, 7]])
    padded = torch.tensor([[5, 6, 7, 0, 0]])
    torch.testing.assert_close(network(short), network(padded))
    assert torch.isfinite(network(torch.zeros(1, 4, dtype=torch.int64))).all()
    assert not torch.equal(network(torch.tensor([[5, 6, 8]])), network(short))


def test_resnet_keeps_the_resolution_of_small_images() -> None:
    network = build("resnet", {"depth": 18})
    hidden = network.get_submodule("layer1")(
        network.get_submodule("maxpool")(network.get_submodule("conv1")(torch.zeros(1, 3, 32, 32)))
    )
    assert hidden.shape == (1, 64, 32, 32)


def test_torchvisions_models_come_without_their_weights() -> None:
    torch.manual_seed(1)
    first = build("mobilenet_v3_small", {"num_classes": 3}).state_dict()
    second = build("mobilenet_v3_small", {"num_classes": 3}).state_dict()
    assert not torch.equal(first["features.0.0.weight"], second["features.0.0.weight"])
    with pytest.raises(ModelError, match="Use only the hyper-parameters num_classes"):
        build("mobilenet_v3_small", {"weights": "DEFAULT"})
    with pytest.raises(ModelError, match="Unknown architecture 'fasterrcnn_resnet50_fpn'"):
        build("fasterrcnn_resnet50_fpn", {})


@pytest.mark.parametrize(
    ("name", "hyper_parameters", "sentence"),
    [
        ("mlp", {"hidden": 10**9}, "hidden must be a whole number from 1 to 16384"),
        ("mlp", {"layers": True}, "layers must be a whole number"),
        ("resnet", {"depth": 10**6}, "depth must be one of 18, 34, 50, 101, 152"),
        ("text_bag", {"vocabulary": 10**12}, "vocabulary must be"),
        ("text_transformer", {"dropout": 1.0}, "dropout must be a number from 0 to less than 1"),
        ("text_transformer", {"heads": 3}, "Correct the hyper-parameters"),
        ("vit_tiny", {"patch_size": 5}, "Correct the hyper-parameters"),
        ("simple_cnn", {"x" * 10_000: 1}, "Use only the hyper-parameters num_classes"),
    ],
)
def test_hyper_parameters_have_limits(name: str, hyper_parameters: dict[str, object], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence) as caught:
        build(name, hyper_parameters)
    assert len(str(caught.value)) < 500


def test_a_package_cannot_ask_for_more_than_it_holds(tmp_path: Path) -> None:
    spec = ModelSpec("mlp", {"hidden": 16_384, "layers": 16, "image_size": 1024}, ImageInput(size=1024))
    save(tmp_path / "model", spec, {"head.bias": torch.zeros(10)})
    with pytest.raises(Refused, match="lacks the tensor"):
        check_base(tmp_path / "model", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("text_bag", ImageInput()),
        ("simple_cnn", TextInput()),
        ("text_bag", TextInput(vocabulary=501)),
        ("text_transformer", TextInput(vocabulary=500, length=13)),
        ("mlp", ImageInput(size=9)),
    ],
)
def test_an_input_that_the_network_cannot_take(name: str, given: ImageInput | TextInput, tmp_path: Path) -> None:
    spec = ModelSpec(name, dict(SMALL[name]), given)
    save(tmp_path / "model", spec, build(name, spec.hyper_parameters).state_dict())
    with pytest.raises(ModelError, match="fails on the input"):
        check_base(tmp_path / "model", tmp_path / "out")


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ({"tokenizer": "bpe"}, "tokenizer is unknown"),
        ({"vocabulary": 1}, "vocabulary must be a whole number from 2 to 1,000,000"),
        ({"vocabulary": 2.5}, "vocabulary must be"),
        ({"length": 5000}, "from 1 to 4,096"),
    ],
)
def test_the_text_input_has_a_schema(field: dict[str, object], sentence: str) -> None:
    spec = ModelSpec("text_bag", {}, TextInput(**field))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=sentence):
        ModelSpec.from_metadata(spec.to_metadata())


PLUG_IN = """
from torch import nn

def brightness(num_classes=2):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))

def failing(num_classes=2):
    return {}["key"]

def empty(num_classes=2):
    return None

class Stumbles(nn.Linear):
    def forward(self, images):
        return {}["logits"]

def stumbling(num_classes=2):
    return Stumbles(3, num_classes)
"""


@pytest.fixture
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of installed plug-in architectures."""
    folder = tmp_path / "plug-ins"
    installed = folder / "my_models-1.0.dist-info"
    installed.mkdir(parents=True)
    (folder / "my_models.py").write_text(PLUG_IN)
    (folder / "broken_models.py").write_text("raise OSError('no licence')\n")
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-models\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[decloud_pl.architectures]\nbrightness = my_models:brightness\nsimple_cnn = my_models:brightness\n"
        "broken = my_models:nothing\nconstant = my_models:__name__\nfailing = my_models:failing\n"
        "empty = my_models:empty\nraising = broken_models:any\nstumbling = my_models:stumbling\n"
    )
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("my_models", None)


@pytest.mark.slow
@pytest.mark.usefixtures("plug_ins")
def test_plug_ins_by_their_entry_point(tmp_path: Path) -> None:
    assert "brightness" in known()
    assert type(build("simple_cnn", {})).__name__ == "SimpleCNN"  # a plug-in cannot replace an architecture
    make_package(tmp_path / "model", make_spec("brightness", {"num_classes": 4}, {"size": 8}))
    assert check_base(tmp_path / "model", tmp_path / "out") == {"classes": 4}
    # In a child process that is isolated from this process's path, too.
    opened = open_base_model(tmp_path / "model", tmp_path / "opened")
    assert (opened.spec.architecture, opened.classes) == ("brightness", 4)


@pytest.mark.usefixtures("plug_ins")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("broken", "The plug-in my_models:nothing of the architecture broken cannot be imported"),
        ("constant", "is not callable"),
        ("failing", "my_models:failing of the architecture failing cannot be built with {}: KeyError: 'key'."),
        ("empty", "my_models:empty of the architecture empty returned a NoneType. Return a torch.nn.Module"),
        ("raising", "architecture raising cannot be imported: OSError: no licence."),
    ],
)
def test_a_plug_in_that_cannot_be_built(name: str, problem: str) -> None:
    with pytest.raises(ModelError) as refused:
        build(name, {})
    assert problem in str(refused.value)


@pytest.mark.usefixtures("plug_ins")
def test_a_plug_in_that_fails_on_its_input(tmp_path: Path) -> None:
    stumbling = make_spec("stumbling", {}, {"size": 8})
    with pytest.raises(ModelError, match="fails on the input that its description declares"):
        make_package(tmp_path / "model", stumbling)
    save(tmp_path / "model", stumbling, stumbling.network())
    with pytest.raises(ModelError, match="fails on the input that its description declares"):
        check_base(tmp_path / "model", tmp_path / "out")
