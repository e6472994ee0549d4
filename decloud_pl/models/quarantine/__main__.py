"""The quarantine process, which holds no secrets: ``python -I -m decloud_pl.models.quarantine [REQUEST]``.

With a request, it opens one file; see `child`. Without a request, it opens any number of files; see `server`.
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
