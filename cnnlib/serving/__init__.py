"""Serving over HTTP: the recognition API, the practice captchas, the server. No TensorFlow."""
