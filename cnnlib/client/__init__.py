"""The calling side of HTTP: ask the recognition API, fetch captchas, measure. No TensorFlow."""
