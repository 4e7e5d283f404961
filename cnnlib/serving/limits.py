"""How much the servers take on at a time, and how long they wait: numbers alone.

deploy/gunicorn.conf.py reads them too, in a process that loads nothing else of the servers.
"""

MAX_REQUEST_BYTES = 5_000_000  # a captcha has some 5,000
MAX_IMAGES = 64  # in a request
MAX_CONNECTIONS = 500  # select() on Windows has room for 512; many systems allow 1,024 open files
MAX_BATCH_SIZE = 32  # images in a run of the network
MAX_QUEUE_SIZE = 256  # images of a model; those beyond are refused at once
# More than are ever queued: the spare ones refuse. Servers themselves would queue without a bound.
SERVER_THREADS = MAX_QUEUE_SIZE + 32
CLOSE_S = 5.0  # that each part has to finish its work on stopping; a disk may never answer
