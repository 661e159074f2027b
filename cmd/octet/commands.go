// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"octet/launcher/workers"
)

// command is a line of octet's table of subcommands.
type command struct {
	name, help string // without help it is not listed
	run        func(ctx context.Context, args []string) error
	// prepare, where there is one, reads the arguments once for all ranks of the
	// command that `octet run` starts, and finds what is wrong with them on world
	// ranks, local of them on this host; world is config.AnyWorld where hosts have
	// to meet before it is known.
	prepare func(args []string, world, local int) (prepared, error)
}

// prepared is a command line that octet run has read for its ranks.
type prepared struct {
	environ []string          // gives them what was read
	asked   map[string]string // what all hosts have to be asked for alike, in place of a command line
	device  string            // what it computes on
	// check finds, before a rank starts, why the command cannot run on world ranks
	// now that the hosts have met. It is quick: the host gives no sign of life
	// meanwhile.
	check func(world int) error
}

func commands() []command {
	return []command{
		{name: "run", help: "start ranks of a program, here and on other hosts (torchrun's flags)", run: runRun},
		{name: "train", help: "train a Llama: one rank of a job", run: runTrain, prepare: prepareTrain},
		{name: "generate", help: "continue a prompt with a saved model", run: runGenerate},
		{name: "eval", help: "measure how well a saved model predicts a text", run: runEval},
		{name: "checkpoint", help: "look at checkpoints, and convert them to and from Hugging Face's format", run: runCheckpoint},
		{name: "data", help: "what a tokenizer makes of data, and data made ready for training", run: runData},
		{name: "plot", help: "draw the loss curves of runs, from their metrics.jsonl", run: runPlot},
		{name: "bench", help: "measure products, linear layers and float8 recipes on this processor", run: runBench},
		{name: "trace", help: "a step of training, kernel by kernel and collective by collective, for Perfetto and as text", run: runTrace},
		{name: "doctor", help: "which libraries of NVIDIA's and which GPUs octet finds here", run: runDoctor},
		{name: "version", help: "what was built, from which commit", run: runVersion},
		{name: "guard", run: runGuard},
	}
}

// lookup returns the command of a name, nil if there is none.
func lookup(name string) *command {
	for _, c := range commands() {
		if c.name == name {
			return &c
		}
	}
	return nil
}

func usage(w io.Writer) {
	fmt.Fprint(w, "octet trains Llama models in float8 on many ranks.\n\nusage: octet <command> [flags], octet <command> --help\n\n")
	for _, c := range commands() {
		if c.help != "" {
			fmt.Fprintf(w, "  %-10s %s\n", c.name, c.help)
		}
	}
}

// runGuard is the process that sees to it that nothing of a job outlives its
// launcher. `octet run` starts it; nobody else has a use for it.
func runGuard(context.Context, []string) error {
	workers.Guard(os.Stdin)
	return nil
}
