"""Audit completed rounds: check whether the validator's shares fit the scores of the updates on the test split.

No module that trains or plans may import this package, because results on the test split must not influence training.
"""
