"""The commands, one file each: they may import everything, and nothing imports them."""
