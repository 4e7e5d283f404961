"""The library below the scripts: data contract, networks, training, inference, serving."""

import os

# TensorFlow reads this once, when it is first imported; 2 keeps warnings about hardware it
# could use off the user's screen and still shows errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
