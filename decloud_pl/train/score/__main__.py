"""Run `decloud_pl.train.score.conventions` as ``python -m decloud_pl.train.score``."""

from __future__ import annotations

from decloud_pl.children import begin_imports, end_imports


def main() -> None:
    begin_imports()
    from decloud_pl.train.score import conventions

    end_imports()
    conventions.main()


if __name__ == "__main__":
    main()
