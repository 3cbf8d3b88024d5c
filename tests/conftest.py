"""What holds for all tests: a process a core, each with one thread, and the same random examples.

`pyproject.toml` names the tiers; `README.md` of this folder says how to run them.
"""

import os

from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

# The same examples in every run and on every machine, however slow it is. To try others:
# pytest --hypothesis-profile=default
settings.register_profile("lrm", deadline=None, database=None, derandomize=True)
settings.load_profile("lrm")
