"""Printing, prompts and live views of commands. The modules import no other part of `decloud_pl.cli`."""
