// SPDX-License-Identifier: Apache-2.0

package gang

import "fmt"

const (
	sigKILL = 9
	sigTERM = 15
	sigSTOP = 19

	maxSignal = 64
)

// signalNames are Linux's numbers on the usual architectures.
var signalNames = map[int]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
	sigKILL: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", sigTERM: "SIGTERM",
	16: "SIGSTKFLT", 17: "SIGCHLD", 18: "SIGCONT", sigSTOP: "SIGSTOP", 20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU",
	23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ", 26: "SIGVTALRM", 27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO",
	30: "SIGPWR", 31: "SIGSYS",
}

// SignalName is as "SIGTERM".
func SignalName(n int) string {
	if name, ok := signalNames[n]; ok {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}

// SignalNumber is the number of a name as "SIGTERM", 0 if there is none.
func SignalNumber(name string) int {
	for n, s := range signalNames {
		if s == name {
			return n
		}
	}
	return 0
}
