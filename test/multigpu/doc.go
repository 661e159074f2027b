// SPDX-License-Identifier: Apache-2.0

// Package multigpu has the integration tests: small models trained on several
// ranks, as goroutines and as processes, on the device that OCTET_TEST_DEVICE
// names. README.md says how to run one by name.
package multigpu
