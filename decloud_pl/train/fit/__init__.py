"""A fit: its data, module, optimizer, checkpoints and Lightning's Trainer."""
