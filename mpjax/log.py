"""The logger of the package; the command line shows its notes on stderr."""

import logging

log = logging.getLogger("mpjax")
