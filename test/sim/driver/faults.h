// SPDX-License-Identifier: Apache-2.0

// SIM_FAULT is a list, with commas, of OP[#N]@DEVICE:KIND: the N-th call (1) of a function of
// libcuda without "cu", or launch of a kernel, by that name, on that device. Kinds:
//
//	error=N     it returns N
//	oom         it returns 2
//	initfail    it returns 999
//	illegal     when it runs, the context dies with 700
//	ecc         when it runs, the context dies with 214
//	wrongdev    its pointer is another device's: 1 of a copy, 700 of a kernel
//	slow=MS     it takes so long
//	nan         one of the values that it wrote is spoiled
