"""Copy the notebooks to your own folder.

The notebooks show how to train a first round, run a sweep, and use your own data and model. To run the notebooks,
install decloud_pl[notebooks].

Examples:
  decloud-trainer notebooks                 into ./notebooks
  decloud-trainer notebooks --to ~/decloud
"""

from __future__ import annotations

from pathlib import Path

import click

from decloud_pl.cli.arguments import FILE, as_json, command
from decloud_pl.errors import UsageError


@command(__doc__)
@click.option("--to", type=FILE, default=Path("notebooks"), metavar="DIR", help="the folder (default: notebooks)")
@as_json
def run(to: Path, as_json: bool) -> int:
    import decloud_pl
    from decloud_pl.cli.ui.output import print_result
    from decloud_pl.durable import copy_atomically

    package = Path(decloud_pl.__file__).parent
    # A wheel has them inside the package, a checkout next to it.
    source = next(path for path in (package / "notebooks", package.parent / "notebooks") if path.is_dir())
    copies = {path: to.expanduser() / path.name for path in sorted(source.glob("*.ipynb"))}
    kept = [copy for copy in copies.values() if copy.exists()]
    if kept:
        raise UsageError(f"{kept[0]} already exists.", fix="Choose another folder with --to.")
    try:
        to.expanduser().mkdir(parents=True, exist_ok=True)
        for path, copy in copies.items():
            copy_atomically(path, copy)
    except OSError as error:
        raise UsageError(
            f"{to} cannot be written: {error.strerror}.", fix="Choose another folder with --to."
        ) from error
    names = [str(copy) for copy in copies.values()]
    print_result({"notebooks": names}, "\n".join(names), json=as_json)
    return 0
