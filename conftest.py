"""Without torch, which is optional, the modules that import it have no doctests to collect."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["mpjax/sparse/*"]
