"""How commands print, ask, draw and are interrupted: it may import nothing else of `decloud_pl.cli`."""
