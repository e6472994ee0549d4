"""Read, show and change settings. These modules may import `decloud_pl.cli.ui`, but must not import commands."""
