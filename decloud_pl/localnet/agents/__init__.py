"""Scripted creators and validators: they keep a local network going, with the trainer's own client code."""
