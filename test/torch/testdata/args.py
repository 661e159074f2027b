# SPDX-License-Identifier: Apache-2.0
"""Prints its arguments and the variables that a launcher sets alike on every machine."""
import os
import sys

print(sys.argv[1:], __name__)
for key in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE",
            "ROLE_NAME", "MASTER_ADDR", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS", "OMP_NUM_THREADS"):
    print(key, os.environ.get(key))
