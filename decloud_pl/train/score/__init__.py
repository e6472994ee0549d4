"""Score an update as a validator does, before it is submitted."""
