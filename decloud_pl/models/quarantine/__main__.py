"""The process of `quarantine`, without secrets: ``python -I -m decloud_pl.models.quarantine [REQUEST]``.

With a request it opens one file, see `child`; without, one file after another, see `server`.
"""

from __future__ import annotations

import sys

from decloud_pl.children import begin_imports, end_imports


def main(arguments: list[str]) -> None:
    begin_imports()
    from decloud_pl.models.quarantine import child, server

    end_imports()
    if arguments:
        child.main(arguments[0])
    else:
        server.main()


if __name__ == "__main__":
    main(sys.argv[1:])
