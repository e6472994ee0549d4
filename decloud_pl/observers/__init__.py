"""Observers of a daemon: activity file, log, reports, notifications, metrics and systemd."""
