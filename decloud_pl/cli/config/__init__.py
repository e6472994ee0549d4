"""What reads, shows and changes the settings: it may import `decloud_pl.cli.ui`, and no command."""
