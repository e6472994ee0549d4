"""The commands, one file each. They may import any module, and no module imports them."""
