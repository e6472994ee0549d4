"""What watches a daemon: activity, log, reports, notifications, metrics and systemd."""
