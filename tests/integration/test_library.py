"""The README's library example earns a reward, in a script and in a notebook's running event loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SETTING = """
import torch
from lightning import LightningModule
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


class MyModule(LightningModule):
    def __init__(self, base):
        super().__init__()
        self.size = base.spec.input.size
        self.classifier = base.network()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch, index):
        inputs, labels = batch
        inputs = functional.interpolate(inputs[:, None].expand(-1, 3, -1, -1), self.size, mode="bilinear")
        loss = functional.cross_entropy(self.classifier(inputs) * self.scale, labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


digits = load_digits()
inputs = torch.tensor(digits.images, dtype=torch.float32) / 8 - 1
my_data = DataLoader(TensorDataset(inputs, torch.tensor(digits.target)), batch_size=64, shuffle=True)
"""

_LINES = """
import lightning
from decloud_pl import DeltaCallback, LocalNetwork, Session

with LocalNetwork() as network, Session(network) as session:
    round_ = session.join_next(dataset="custom")
    base = round_.base_model()
    module = MyModule(base)                      # any LightningModule
    lightning.Trainer(max_epochs=3, callbacks=[DeltaCallback(base, publisher=round_)]).fit(module, my_data)
    print(round_.claim())
"""


def test_the_lines_run_as_written_and_the_update_earns(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(_SETTING + _LINES)
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Round 0: 100 % of the pool, 0.882 SOL", done.stdout
