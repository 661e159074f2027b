// SPDX-License-Identifier: Apache-2.0

// What the processes of a group share: a file that all map, and that has no name once
// all have.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

// A rank has SLOTS slots that all others read.
constexpr uint32_t SLOTS = 2, SPLITS = 256;
constexpr size_t SLOT = 4 << 20;

// place is a rank's part. Fresh memory is 0.
struct place {
	std::atomic<uint32_t> process; // its number; 0: the rank has not joined
	std::atomic<uint32_t> splits;  // that it has taken part in
	struct {
		int32_t color, key;
	} split[SPLITS];
	std::atomic<uint32_t> filled; // messages
	uint64_t bytes[SLOTS];
	alignas(4096) char slots[SLOTS][SLOT];
};

struct board {
	std::string path;
	place *places = nullptr;
	size_t size;
	std::atomic<bool> named{true};

	board(const std::string &name, size_t ranks);
	~board();
	board(const board &) = delete;

	// joined reports whether all ranks have.
	bool joined();
};
