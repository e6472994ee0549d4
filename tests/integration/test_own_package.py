"""The daemon uses the module, data module and callback of a user's package on a local network."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = (sys.executable, "-m", "decloud_pl.cli")
PACKAGE = '''
import pathlib

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


class Smooth(LightningModule):
    """Label smoothing, which the package's own module does not have, with an optimizer of its own."""

    def __init__(self, network, smoothing=0.05):
        super().__init__()
        self.body = network
        self.smoothing = smoothing

    def training_step(self, batch, index):
        inputs, labels = batch
        return functional.cross_entropy(self.body(inputs), labels, label_smoothing=self.smoothing)

    def validation_step(self, batch, index):
        inputs, labels = batch
        hits = (self.body(inputs).argmax(1) == labels).float().mean()
        self.log("val/accuracy", hits, batch_size=len(labels))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.body.parameters(), lr=1e-3)


class Digits(LightningDataModule):
    """The digits, prepared by hand as the base model takes them."""

    def __init__(self, size=32, batch=32):
        super().__init__()
        self.size, self.batch = size, batch

    def setup(self, stage):
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
        images = functional.interpolate(images, size=(self.size, self.size), mode="bilinear")
        images = (images.expand(-1, 3, -1, -1) - 0.5) / 0.5
        labels = torch.tensor(digits.target)
        self.train_rows = TensorDataset(images[:1400], labels[:1400])
        self.held_out = TensorDataset(images[1400:], labels[1400:])

    def train_dataloader(self):
        return DataLoader(self.train_rows, batch_size=self.batch, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.held_out, batch_size=64)


class Footprint(Callback):
    """Leaves a file, so that the test can see that it ran."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def on_fit_start(self, trainer, pl_module):
        self.path.write_text(f"{type(pl_module).__name__} {type(trainer.datamodule).__name__} {pl_module.smoothing}")
'''


@pytest.mark.parametrize("network", [["--rounds", "1"]], indirect=True)
def test_it_earns_in_the_daemon(network: Any, start: Callable[..., Any], trainer_home: Path, tmp_path: Path) -> None:
    (tmp_path / "site" / "my_lab").mkdir(parents=True)
    (tmp_path / "site" / "my_lab" / "__init__.py").write_text(PACKAGE)
    footprint = tmp_path / "footprint"
    own = [
        "module._target_=my_lab.Smooth",
        "+module.smoothing=0.1",
        "datamodule._target_=my_lab.Digits",
        "+callbacks.footprint._target_=my_lab.Footprint",
        f"+callbacks.footprint.path={footprint}",
    ]
    settings = [*network.overrides(trainer_home), "trainer=cpu", *own]
    environ = {"DECLOUD_HOME": str(trainer_home), "PYTHONPATH": str(tmp_path / "site")}

    def refused(*arguments: str) -> str:
        done = subprocess.run(
            [*COMMAND, "start", *settings, *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 3, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    # With settings that cannot train, the daemon joins no round: it ends at the start with one sentence.
    assert "'my_lab.Smooth' may not be built from a configuration, because" in refused()
    environ["DECLOUD_ALLOW_PACKAGES"] = "my_lab"
    assert "has its own configure_optimizers, so the setting optimizer has no effect" in refused("optimizer=sgd")

    daemon = start(["start", *settings], **environ)
    daemon.wait_for("Round 0: claimed 0.882 SOL")
    assert daemon.end(signal.SIGINT) == 0
    assert footprint.read_text() == "Smooth Digits 0.1"
    found = json.loads(
        subprocess.run(
            [*COMMAND, "status", "0", "--json", *network.overrides(trainer_home)],
            env={**os.environ, **environ},
            capture_output=True,
            check=True,
        ).stdout
    )
    assert found["journal"]["accuracy_after"] > found["journal"]["accuracy_before"] + 0.5
