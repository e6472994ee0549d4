"""Read, show and change settings. The modules may import `decloud_pl.cli.ui`, but no command."""
