// SPDX-License-Identifier: Apache-2.0

package cpu

import "octet/device/internal/contract"

// must panics with the shapes if a caller broke the contract of device.Kernels.
const must = contract.Of("cpu")
