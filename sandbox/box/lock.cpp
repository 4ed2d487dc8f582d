#include "sandbox/box/lock.h"

#include <cerrno>

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ponder::sandbox {

namespace {

bool set_capabilities(__u32 permitted_low, __u32 permitted_high, bool inheritable) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  data[0].effective = data[0].permitted = permitted_low;
  data[1].effective = data[1].permitted = permitted_high;
  if (inheritable) {
    data[0].inheritable = permitted_low;
    data[1].inheritable = permitted_high;
  }
  return syscall(SYS_capset, &header, data) == 0;
}

}  // namespace

bool drop_bounding_set() {
  // Inheritable first: afterwards nothing can be added to that set, and start_zygote needs it.
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  if (!set_capabilities(data[0].permitted, data[1].permitted, true)) return false;
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability)
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return false;
  return true;
}

bool drop_capabilities() {
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return false;
  if (!set_capabilities(0, 0, false)) return false;
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

bool keep_capabilities_at_exec() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    const __u32 bits = data[capability / 32].permitted;
    if ((bits >> (capability % 32) & 1U) == 0) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) return false;
  }
  return true;
}

bool install_filter(const std::string& filter) {
  sock_fprog program{};
  program.len = static_cast<unsigned short>(filter.size() / sizeof(sock_filter));
  program.filter = reinterpret_cast<sock_filter*>(const_cast<char*>(filter.data()));
  if (program.len == 0) {
    errno = EINVAL;
    return false;
  }
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

}  // namespace ponder::sandbox
