// The system call filter of every run, as a BPF program for seccomp(2).
#pragma once

#include <string>

namespace ponder::sandbox {

// An array of sock_filter. Known calls are allowed except a list of dangerous ones (EPERM, sockets
// EACCES); calls that libseccomp does not know (newer kernels') answer ENOSYS, so nothing is open
// that was never judged; foreign ABIs (32-bit, x32) kill with SIGSYS. A plain allow-list would
// break on each new language runtime, a plain deny-list would leave each new kernel call open.
// `watch`: no cgroups, so memory that is in no process and no tmpfs (memfd) is refused.
// libseccomp knows the calls' names and numbers; the program is assembled here, a binary search
// over ranges of numbers, because the kernel compiles it anew for every run: libseccomp's own 590
// instructions cost 0.17 ms each time, these 140 a fifth of that.
std::string seccomp_program(bool watch);

}  // namespace ponder::sandbox
