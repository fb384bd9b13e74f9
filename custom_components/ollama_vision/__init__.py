"""Ollama Vision: what a vision model at home sees in a picture."""
