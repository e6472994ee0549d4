"""Verified and cached downloads from untrusted gateways."""
