"""A complete DECLOUD network on one machine: program, chain, gateway, creator and validator.

Only the command line and the tests import this package. Trainers reach it only over its public protocols.
"""
