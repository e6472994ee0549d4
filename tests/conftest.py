"""Tests must not leave their folder or this machine, and every run must behave the same."""

from __future__ import annotations

import atexit
import functools
import gc
import itertools
import logging
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

# Imported modules and collected tests stay until the end. Searching them for garbage would double the start-up time.
gc.disable()
# Set before anything imports torch, which reads the variable once. Child processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
# A proxy of the machine must not see loopback traffic.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,::1,localhost"

# A shell that runs the tests in its background makes them and their children ignore these signals, which tests send.
if threading.current_thread() is threading.main_thread():
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)

hypothesis.settings.register_profile("decloud", derandomize=True, deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("decloud")

pytest_plugins = ["tests.world"]

HERE = Path(__file__).parent
NO_SKIPS = "DECLOUD_NO_SKIPS"
# The marks of whole modules and folders. Single tests in other modules carry their mark themselves. A test with the
# fixture `ray` gets the mark `ray`. The option --fast skips all tests with one of these marks.
MARKED = {
    "browser": ("dashboard/test_browser.py",),
    "npm": ("localnet/rpc/test_npm_clients.py",),
    "ray": ("executors/test_ray.py",),
    "slow": (
        "audit/test_background.py",
        "audit/test_isolation.py",
        "audit/test_rounds.py",
        "audit/test_shares.py",
        "audit/test_validators.py",
        "chain/dialects/test_another_revision.py",
        "chain/test_growth.py",
        "cli/test_config.py",
        "cli/test_datasets.py",
        "cli/test_doctor.py",
        "cli/test_help.py",
        "cli/test_history.py",
        "cli/test_model.py",
        "cli/test_notify.py",
        "cli/test_on_a_network.py",
        "cli/test_setup.py",
        "cli/test_start.py",
        "cli/test_storage.py",
        "cli/test_streams.py",
        "cli/test_usage.py",
        "cli/test_validators.py",
        "cli/test_wallet_as_documented.py",
        "cli/test_wallet_choice.py",
        "config/test_aliases.py",
        "config/test_allow_packages.py",
        "config/test_hydra_entry.py",
        "config/test_load.py",
        "config/test_secrets.py",
        "config/test_settings.py",
        "daemon/test_aborted.py",
        "daemon/test_account.py",
        "daemon/test_faults.py",
        "daemon/test_kill_matrix.py",
        "daemon/test_late.py",
        "daemon/test_publish_faults.py",
        "daemon/test_publish_life.py",
        "daemon/test_revisions.py",
        "daemon/test_soak.py",
        "daemon/test_startup.py",
        "daemon/test_stop_in_each_state.py",
        "daemon/test_strangers.py",
        "daemon/test_track_records.py",
        "daemon/test_withheld.py",
        "dashboard/test_bench.py",
        "dashboard/test_command.py",
        "dashboard/test_guard.py",
        "data/test_conformance.py",
        "docs/test_site.py",
        "executors/test_process.py",
        "executors/test_training_check.py",
        "experiment/test_conf.py",
        "experiment/test_run.py",
        "experiment/test_sweep.py",
        "hostile",
        "integration",
        "journal/test_damaged.py",
        "journal/test_every_view.py",
        "localnet/agents/test_bench_child.py",
        "localnet/agents/test_evidence.py",
        "localnet/agents/test_oracle.py",
        "localnet/agents/test_three_trainers.py",
        "localnet/agents/test_validator.py",
        "localnet/program/test_build.py",
        "localnet/program/test_deploy.py",
        "localnet/program/test_properties.py",
        "localnet/test_network.py",
        "models/quarantine/test_opening.py",
        "models/quarantine/test_warm.py",
        "models/test_architectures.py",
        "notebooks",
        "observers/test_log.py",
        "observers/test_notify.py",
        "observers/test_reports.py",
        "project/test_guards.py",
        "project/test_pythons.py",
        "project/test_setup.py",
        "project/test_wheel.py",
        "rounds/test_datasets.py",
        "store/ipfs/test_car.py",
        "store/ipfs/test_unixfs.py",
        "store/test_bench.py",
        "store/test_genuine_software.py",
        "store/test_own_provider.py",
        "test_addresses.py",
        "test_children.py",
        "test_session.py",
        "train/test_augment.py",
        "train/test_budget.py",
        "train/test_callback.py",
        "train/test_callbacks.py",
        "train/test_choice.py",
        "train/test_earn_bench.py",
        "train/test_gain.py",
        "train/test_judge.py",
        "train/test_last_fit.py",
        "train/test_loggers.py",
        "train/test_module.py",
        "train/test_own_code.py",
        "train/test_own_data.py",
        "train/test_probe.py",
        "train/test_run.py",
        "train/test_schedules.py",
        "train/test_score_bench.py",
        "train/test_trainer_arguments.py",
        "train/test_worker.py",
    ),
}
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost", "0.0.0.0", "::", ""})  # the last three are only for binding


class LeftTheMachine(AssertionError):
    """A test tried to reach another machine."""


def _loopback_only(event: str, arguments: tuple[object, ...]) -> None:
    """Reject connections to other machines. An audit hook also sees connections by asyncio and all libraries."""
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) and address else ""
    elif event == "socket.getaddrinfo":
        host = arguments[0] or ""
    else:
        return
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name not in _LOOPBACK and not name.startswith("127."):
        raise LeftTheMachine(f"A test tried to reach {name}.")


sys.addaudithook(_loopback_only)


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove the user's settings and secrets from the tests' environment."""
    with pytest.MonkeyPatch.context() as patch:
        # Lightning imports Matplotlib, which would list the machine's fonts again in each new home.
        patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        for name in list(os.environ):
            if name.startswith("DECLOUD_") and name != NO_SKIPS:
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _session_home(_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Path]]:
    """A home for fixtures with a wider scope than one test. Yields the homes for the single tests."""
    # Numbered here: pytest would list its whole folder to find a number, and that folder has thousands of entries.
    folder = tmp_path_factory.mktemp("homes")
    homes = (folder / str(number) for number in itertools.count())
    with pytest.MonkeyPatch.context() as patch:
        _set_home(patch, next(homes))
        yield homes


@pytest.fixture(autouse=True)
def _home(_session_home: Iterator[Path]) -> Iterator[None]:
    """Give each test its own empty home, so that ``~`` is never the user's home and tests share no files."""
    with pytest.MonkeyPatch.context() as patch:
        _set_home(patch, next(_session_home))
        yield


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Undo what commands and Hydra do to the root logger: their handlers write to the standard output of one test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def _set_home(patch: pytest.MonkeyPatch, home: Path) -> None:
    home.mkdir()
    patch.setenv("HOME", str(home))
    patch.setenv("DECLOUD_HOME", str(home / ".decloud-trainer"))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        patch.delenv(name, raising=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help=f"leave out the tests marked {', '.join(MARKED)}")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        # xdist kills a process that takes ten seconds to end, and Python then complains. With torch loaded, the
        # interpreter takes that long to exit on a busy machine. This hook runs after the libraries' exit handlers.
        atexit.register(os._exit, 0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    gc.freeze()
    gc.enable()


@functools.cache
def _marks_of(module: Path) -> list[str]:
    place = module.relative_to(HERE)
    return [mark for mark, names in MARKED.items() if any(place.is_relative_to(name) for name in names)]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --fast, do not even import the marked modules. Their imports take seconds in each test process."""
    is_ours = collection_path.is_relative_to(HERE)
    return True if config.getoption("fast") and is_ours and _marks_of(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        for mark in _marks_of(item.path):
            item.add_marker(mark)
        if "ray" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")
        (left_out if any(item.get_closest_marker(mark) for mark in MARKED) else kept).append(item)
    if config.getoption("fast"):
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure on a machine that must run all tests: a skip would hide a missing test."""
    if os.environ.get(NO_SKIPS) and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"Skipped although {NO_SKIPS} is set: {report.longreprtext.strip()}"
