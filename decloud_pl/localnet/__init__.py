"""A whole DECLOUD network on one machine: program, chain, gateway and the other people's roles.

Only the command line and tests import this package; the client meets it over its public protocols.
"""
