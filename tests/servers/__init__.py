"""Servers that the tests and the demo talk to: real ones, and a faulty one for what no real one can be made to do.

Nothing here but `fixtures` knows pytest. Every server listens on 127.0.0.1 at a port that the system picks.
"""
