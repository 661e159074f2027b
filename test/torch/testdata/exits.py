# SPDX-License-Identifier: Apache-2.0
"""usage: exits.py RANK CODE     that rank exits so (-9: is killed); the others wait for it, and where it gave 0 go on."""
import os
import signal
import sys
import time

rank, code = int(sys.argv[1]), int(sys.argv[2])
if int(os.environ["RANK"]) != rank:
    time.sleep(1 if code == 0 else 100)
    sys.exit(0)
if code < 0:
    os.kill(os.getpid(), signal.Signals(-code))
sys.exit(code)
