// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
)

// The methods here are the numbers that follow from several fields. They are right for a Config that passed Validate.

// Float8Enabled reports whether linear layers train in float8.
func (c *Config) Float8Enabled() bool { return slices.Contains(c.Model.Converters, Float8Converter) }

// TotalSteps is the length of the learning rate's curve.
func (c *Config) TotalSteps() int {
	if c.LRScheduler.TotalSteps != nil {
		return *c.LRScheduler.TotalSteps
	}
	return c.Training.Steps
}

// ShardDegree is the number of ranks that share one copy of the model.
func (c *Config) ShardDegree(world int) int {
	if degree := c.Parallelism.DataParallelShardDegree; degree != -1 {
		return degree
	}
	return world / c.otherDegrees()
}

// LeastRanks is the number of ranks that the degrees multiply to, where what is left for the shard degree is 1.
func (c *Config) LeastRanks() int {
	return max(1, c.Parallelism.DataParallelShardDegree) * c.otherDegrees()
}

// DataRanks is the number of ranks that read different data.
func (c *Config) DataRanks(world int) int {
	return c.Parallelism.DataParallelReplicateDegree * c.ShardDegree(world)
}

// DataRank is which of the DataRanks a rank is: ranks that share its modules read the same data.
func (c *Config) DataRank(rank int) int { return rank / c.Parallelism.TensorParallelDegree }

// GlobalBatchSize is the number of sequences per step on all ranks.
func (c *Config) GlobalBatchSize(world int) int {
	if c.Training.GlobalBatchSize != -1 {
		return c.Training.GlobalBatchSize
	}
	return c.Training.LocalBatchSize * c.DataRanks(world)
}

// Microbatches is the number of forward and backward passes per step whose gradients accumulate.
func (c *Config) Microbatches(world int) int {
	return c.GlobalBatchSize(world) / (c.Training.LocalBatchSize * c.DataRanks(world))
}

// LongestSequence is the tokens of the longest sequence that the model is to take.
func (c *Config) LongestSequence() int {
	if c.Validation.Enable {
		return max(c.Training.SeqLen, c.Validation.SeqLen)
	}
	return c.Training.SeqLen
}

// otherDegrees is the product of all degrees but the shard degree.
func (c *Config) otherDegrees() int {
	p := &c.Parallelism
	return p.DataParallelReplicateDegree * p.TensorParallelDegree * p.ContextParallelDegree * p.PipelineParallelDegree
}

// otherDegreesByName is that product, for messages.
func (c *Config) otherDegreesByName() string {
	p := &c.Parallelism
	text := fmt.Sprintf("data_parallel_replicate_degree %d × tensor_parallel_degree %d", p.DataParallelReplicateDegree, p.TensorParallelDegree)
	if p.ContextParallelDegree != 1 {
		text += fmt.Sprintf(" × context_parallel_degree %d", p.ContextParallelDegree)
	}
	if p.PipelineParallelDegree != 1 {
		text += fmt.Sprintf(" × pipeline_parallel_degree %d", p.PipelineParallelDegree)
	}
	return text
}
