// The last locks before untrusted code: no capability, no new privilege, a system call filter.
#pragma once

#include <string>

namespace ponder::sandbox {

// Empties the bounding set, for good and for all descendants: no exec gives a capability that was
// not held. Once a box, since it takes a call for each capability. False with errno on failure.
bool drop_bounding_set();

// Empties every other capability set and sets no_new_privs. False with errno on failure.
bool drop_capabilities();

// Gives the process, across an exec of an unprivileged user, every capability over its user
// namespace (ambient set). REQUIRES: drop_bounding_set() came before.
bool keep_capabilities_at_exec();

// `filter`: an array of sock_filter. REQUIRES: no_new_privs. False with errno on failure.
bool install_filter(const std::string& filter);

}  // namespace ponder::sandbox
