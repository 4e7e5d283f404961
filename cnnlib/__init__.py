"""The library below the scripts: data contract, networks, training, inference, serving."""

import os

# TensorFlow reads these once, when it is first imported.
# 2 keeps warnings about hardware it could use off the user's screen and still shows errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# By itself TensorFlow uses oneDNN only where the processor has AVX-512; on one with AVX2 alone a
# training step takes 1.6 times as long without it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
