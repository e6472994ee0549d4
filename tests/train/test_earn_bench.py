"""scripts/bench earn: what it computes from finished runs, and that it does not repeat them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from decloud_pl.config import compose
from decloud_pl.data.formats.digits import Digits
from decloud_pl.train.fit.recipe import with_chosen
from tests.localnet.agents.conftest import always

BENCHMARKS = Path(__file__).parents[2] / "scripts" / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("earn")


class Written:
    """Sides whose accuracies are written here: base 80 %, ours 90 %, the rival 88 %."""

    def __init__(self) -> None:
        self.courses: list[Any] = []

    def run(self, course: Any) -> dict[str, Any]:
        self.courses.append(course)
        if course.side == "round":
            return {"shares": {"ours": 5_556, "rival": 4_444}}
        accuracy = 90.0 if course.side == "ours" else 88.0
        seconds = course.seconds or 50.0
        return {"accuracy": accuracy, "seconds": seconds, "note": "", "epochs": 1.5, "curve": [[40.0, 87.0]]}

    def base_accuracy(self, base: int) -> float:
        return float(base)


def test_a_pair_shares_the_pool_by_its_gains(bench: Any, tmp_path: Path) -> None:
    results, sides = bench.Results(tmp_path / "runs.jsonl"), Written()
    pair = bench._pair(results, sides, 80, 60.0, 0)  # noqa: SLF001  # the bench has no public functions
    assert (pair["lead"], pair["share_of_pool"]) == (2.0, 0.5556)
    assert bench._targets([pair]) == {  # noqa: SLF001
        "never below the rival": True,
        "1.0 points above the rival from 80 % in 60 s": True,
        "53% of the pool from 80 %": True,
        "more than the rival in every round": True,
    }
    behind = {**pair, "lead": -0.1, "share_of_pool": 0.4}
    assert not any(bench._targets([behind]).values())  # noqa: SLF001


def test_a_finished_run_is_not_repeated(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    first, second = Written(), Written()
    assert bench._pair(bench.Results(path), first, 88, 60.0, 1)["ours"] == 90  # noqa: SLF001
    assert bench._pair(bench.Results(path), second, 88, 60.0, 1)["ours"] == 90  # noqa: SLF001
    assert (len(first.courses), len(second.courses)) == (3, 0)
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == [
        f"{side} 88 60 1" for side in ("ours", "rival", "round")
    ]


def test_the_rivals_first_epoch_must_be_reached_in_a_third_of_its_time(bench: Any, tmp_path: Path) -> None:
    sides = Written()
    found = bench._first(bench.Results(tmp_path / "runs.jsonl"), sides, 0)  # noqa: SLF001
    assert [course.seconds for course in sides.courses] == [0, 17.5]
    assert found["is_reached"]


@pytest.mark.usefixtures("bench")
def test_a_round_pays_what_the_validator_measures(tmp_path: Path) -> None:
    labels = torch.from_numpy(Digits().load("test").labels)
    most, least = int(labels.bincount().argmax()), int(labels.bincount().argmin())
    base, better = always(least), always(most)
    torch.save(base, tmp_path / "base.pt")
    torch.save({name: better[name] - base[name] for name in base}, tmp_path / "better.pt")
    torch.save({name: torch.zeros_like(base[name]) for name in base}, tmp_path / "same.pt")
    updates = {"ours": tmp_path / "better.pt", "rival": tmp_path / "same.pt"}
    play = importlib.import_module("earn_round").shares  # found because the fixture `bench` extends the path
    assert play(tmp_path / "base.pt", updates, dataset="digits") == {"ours": 10_000, "rival": 0}


def test_a_withheld_update_earns_nothing(bench: Any, tmp_path: Path) -> None:
    class Withheld(Written):
        def run(self, course: Any) -> dict[str, Any]:
            return {**super().run(course), "withheld": "It is misread."}

    pair = bench._pair(bench.Results(tmp_path / "runs.jsonl"), Withheld(), 80, 60.0, 0)  # noqa: SLF001
    assert pair["share_of_pool"] == 0


@pytest.mark.parametrize(("task", "recipe"), [("fashionmnist", "fast"), ("digits", "small"), ("text_bag", "text")])
def test_every_row_of_the_ablation_is_a_configuration(bench: Any, task: str, recipe: str) -> None:
    rows = bench.earn_ablation.ROWS[task]
    plain = compose(["budget=compete", f"recipe={recipe}"])
    known = with_chosen(plain, plain.given)
    for name, overrides in rows.items():
        settings = compose(list(overrides))
        found = with_chosen(settings, settings.given)
        assert settings.competes(settings.given) is (name != "documented")
        assert (found == known) is (name == recipe)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--task", "digits", "--part", "pairs"], "has only the part ablation"),
        (["--task", "text_bag", "--bases", "88"], "and the base model 10"),
        (["--task", "digits", "--rows", "fast"], "has no row 'fast'"),
    ],
)
def test_options_that_do_not_apply_are_refused(
    bench: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    with pytest.raises(SystemExit):
        bench.parse(arguments)
    assert reason in capsys.readouterr().err


def test_the_ablation_runs_each_row_of_its_task_once(bench: Any, tmp_path: Path) -> None:
    results, sides = bench.Results(tmp_path / "runs.jsonl"), Written()
    for _ in range(2):
        rows = bench.earn_ablation.measure(
            lambda course: {**results.run(sides, course), "cpu_seconds": 1.0},
            "digits",
            rows=["small", "documented"],
            base=10,
            seconds=30.0,
            seeds=2,
        )
    assert [(row["task"], row["row"], row["mean"]) for row in rows] == [
        ("digits", "small", 90.0),
        ("digits", "documented", 90.0),
    ]
    assert [course.key() for course in sides.courses[2:]] == [
        "ours digits 10 30 0 budget=documented",
        "ours digits 10 30 1 budget=documented",
    ]
    assert len(sides.courses) == 4


def test_the_texts_come_from_the_documentation_of_packages(bench: Any, tmp_path: Path) -> None:
    make = importlib.import_module("earn_texts").path
    tables = [make(tmp_path / name, ("click", "httpx")) for name in ("one", "two")]
    files = [[(folder / name).read_text() for name in ("train.jsonl", "test.jsonl")] for folder in tables]
    assert files[0] == files[1]
    train, test = ([json.loads(line) for line in text.splitlines()] for text in files[0])
    assert {row["label"] for row in train} == {row["label"] for row in test} == {"click", "httpx"}
    assert not {row["text"] for row in train} & {row["text"] for row in test}
    assert len(train) > 5 * len(test) > 50
