#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check.sh [--out DIR] [--only NAMES] [--list] runs the checks of the bundle that it is in; see --help.
exec "$(dirname "$0")/bin/gpucheck" "$@"
