// The last locks before untrusted code: no capability, no new privilege, a system call filter.
#pragma once

#include <string>

namespace ponder::sandbox {

// Empties every capability set, the bounding and ambient ones too, and sets no_new_privs. False
// with errno on failure.
bool drop_capabilities();

// Gives the process, across an exec of an unprivileged user, every capability over its user
// namespace (ambient set).
bool keep_capabilities_at_exec();

// `filter`: an array of sock_filter. REQUIRES: no_new_privs. False with errno on failure.
bool install_filter(const std::string& filter);

}  // namespace ponder::sandbox
