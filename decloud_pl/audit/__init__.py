"""Audits of completed rounds: whether the validator's shares fit what the updates score on the test split.

Nothing that trains or plans imports this package, so that no result on the test split reaches a training.
"""
