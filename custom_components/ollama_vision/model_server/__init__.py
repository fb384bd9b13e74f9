"""The wire protocols of model servers, without Home Assistant."""
