"""Start the child process of the local network's creator and validator; see `bench_child`."""

from __future__ import annotations

from decloud_pl.children import begin_imports, end_imports


def main() -> None:
    begin_imports()
    from decloud_pl.localnet.agents import bench_child

    end_imports()
    bench_child.main()


if __name__ == "__main__":
    main()
