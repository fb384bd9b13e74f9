"""Tests of the wire protocols, on real sockets; no Home Assistant."""
