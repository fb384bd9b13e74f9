"""Tests of Ollama Vision."""
