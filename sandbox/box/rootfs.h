// The file tree of a box: a read-only tmpfs with a toolchain bound into it, a few devices, and
// nothing else of the host.
#pragma once

#include <string>
#include <vector>

#include "sandbox/box/protocol.h"

namespace ponder::sandbox {

// Builds the tree in the caller's own mount namespace and makes it the root. `files`: descriptors
// of setup.file_names.
// "" on success, else what failed, with the system's reason. REQUIRES: new user, mount and PID
// namespaces, pid 1.
std::string enter_rootfs(const BoxSetup& setup, const std::vector<int>& files);

}  // namespace ponder::sandbox
