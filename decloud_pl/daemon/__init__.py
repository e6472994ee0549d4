"""The daemon: finds rounds, joins, trains, submits and claims, and survives being killed at any moment."""
