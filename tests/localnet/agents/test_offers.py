"""The offers that the creator posts."""

from __future__ import annotations

from pathlib import Path

import pytest

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.cli import main
from decloud_pl.data.entry import DataFolder
from decloud_pl.errors import DatasetNotFound, UsageError
from decloud_pl.localnet.agents.offers import Offer, make_offers
from tests.data import tiny


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    for name in ("emnist", "agnews"):
        tiny.write(name, tmp_path)
    return DataFolder(tmp_path, download=False)


def test_each_data_set_gets_a_model_that_fits(data: DataFolder) -> None:
    assert make_offers(["custom", "emnist", "agnews"], [], data, get_dialect()) == (
        Offer("custom", "simple_cnn", 10),
        Offer("emnist", "simple_cnn", 47),
        Offer("agnews", "text_bag", 4),
    )
    chosen = make_offers(["emnist", "agnews"], ["text_transformer", "mlp", "resnet"], data, get_dialect())
    assert [offer.architecture for offer in chosen] == ["mlp", "text_transformer"]


def test_what_cannot_be_offered(data: DataFolder) -> None:
    with pytest.raises(UsageError, match="The network has no data set 'digits'"):
        make_offers(["digits"], [], data, get_dialect())
    with pytest.raises(UsageError, match="Unknown architecture 'resnext'"):
        make_offers(["custom"], ["resnext"], data, get_dialect())
    with pytest.raises(UsageError, match="None of the given architectures accepts the text samples of agnews"):
        make_offers(["agnews"], ["mlp"], data, get_dialect())
    with pytest.raises(DatasetNotFound, match="The files of the data set imdb are not on this machine"):
        make_offers(["imdb"], [], data, get_dialect())


def test_the_command_says_what_is_missing_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = "The files of the data set svhn are not on this machine."
    assert main(["localnet", "--dataset", "svhn", "--data", str(tmp_path)]) == 8
    command = f"`decloud-trainer datasets --download svhn data.folder={tmp_path}`"
    assert capsys.readouterr().err == f"decloud-trainer: {missing} Run {command}, or name another folder with --data.\n"
    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path))
    assert main(["localnet", "--dataset", "svhn"]) == 8
    fix = "Run `decloud-trainer datasets --download svhn`, or name the folder that has them with --data."
    assert capsys.readouterr().err == f"decloud-trainer: {missing} {fix}\n"
    assert main(["localnet", "--open-rounds", "0"]) == 2
    assert "--open-rounds must be at least 1 (got 0)" in capsys.readouterr().err
