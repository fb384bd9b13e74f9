"""The custom components of a house in the tests, beside Ollama Vision."""
