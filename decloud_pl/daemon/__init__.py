"""The daemon. It finds rounds, joins them, trains, submits and claims, and survives a kill at any moment."""
