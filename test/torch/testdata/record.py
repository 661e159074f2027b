# SPDX-License-Identifier: Apache-2.0
"""Rank 1 raises under @record, so its error file has the exception."""
import os
import time

from torch.distributed.elastic.multiprocessing.errors import record


@record
def main():
    if os.environ["RANK"] == "1":
        raise ValueError("the loss of rank 1 is NaN")
    time.sleep(100)


main()
