// SPDX-License-Identifier: Apache-2.0

#include "board.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.h"

board::board(const std::string &name, size_t ranks) : path("/dev/shm/" + name), size(ranks) {
	const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, static_cast<off_t>(ranks * sizeof(place))) != 0) fail(ncclSystemError, "%s: %s", path.c_str(), strerror(errno));
	void *p = mmap(nullptr, ranks * sizeof(place), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED) fail(ncclSystemError, "%s: %s", path.c_str(), strerror(errno));
	places = static_cast<place *>(p);
}

board::~board() {
	if (named) unlink(path.c_str());
	munmap(places, size * sizeof(place));
}

bool board::joined() {
	for (size_t q = 0; q < size; q++)
		if (places[q].process == 0) return false;
	if (named.exchange(false)) unlink(path.c_str());
	return true;
}
