"""What an update is worth: scored as a validator does it, before it is submitted."""
