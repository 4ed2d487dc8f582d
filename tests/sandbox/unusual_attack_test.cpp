// Rarer attacks, each tried on every kind of box. They print ESCAPED when they get through; those
// that only exhaust something must leave a box that works.
#include <gtest/gtest.h>

#include "tests/sandbox/support.h"

namespace ponder::sandbox {
namespace {

struct Attack {
  const char* name;
  const char* language;
  const char* code;
};

const Attack kAttacks[] = {
    {"InheritedDescriptors", "python", R"x(import os
for fd in range(3, 256):
    try: os.fstat(fd)
    except OSError: continue
    print('ESCAPED', fd, os.readlink(f'/proc/self/fd/{fd}')))x"},
    {"SparseFile", "python", R"x(import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for d in ('/tmp', '/dev/shm'):
    f = os.open(d + '/s', os.O_RDWR | os.O_CREAT)
    for size in (1 << 50, 17 << 20):
        try: os.ftruncate(f, size); print('ESCAPED', size)
        except OSError: pass
    try: os.pwrite(f, b'x', 1 << 40); print('ESCAPED pwrite')
    except OSError: pass
    try: os.posix_fallocate(f, 0, 1 << 30); print('ESCAPED fallocate')
    except OSError: pass)x"},
    {"NoCore", "python", R"x(import os, resource, signal
if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0): print('ESCAPED')
if os.fork() == 0: os.abort()
_, status = os.wait()
if os.WCOREDUMP(status) or os.listdir('/tmp/box') != ['main.py']: print('ESCAPED core'))x"},
    {"InitByPidfd", "python", R"x(import os, signal, ctypes
fd = os.pidfd_open(1)
for s in (signal.SIGKILL, signal.SIGSTOP):
    try: signal.pidfd_send_signal(fd, s)
    except OSError: pass
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(438, fd, 0, 0) >= 0: print('ESCAPED pidfd_getfd'))x"},
    {"PtraceOfChildAndParent", "python", R"x(import os, time, ctypes
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if child == 0: time.sleep(1); os._exit(0)
for pid in (child, 1, os.getppid()):
    for request in (16, 0x4206):
        if libc.ptrace(request, pid, 0, 0) == 0: print('ESCAPED', request, pid)
os.kill(child, 9))x"},
    {"TypesIntoTerminal", "python", R"x(import fcntl, termios, os
for fd in (0, 1, 2):
    for request in (termios.TIOCSTI, 0x541C):
        try: fcntl.ioctl(fd, request, b'x'); print('ESCAPED', request)
        except OSError: pass
try: os.open('/dev/tty', os.O_RDWR); print('ESCAPED tty')
except OSError: pass)x"},
    {"WatchesHostFiles", "python", R"x(import ctypes, fcntl, os
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init1(0)
if fd >= 0 and libc.inotify_add_watch(fd, b'/usr/bin', 0xfff) >= 0: print('ESCAPED inotify')
d = os.open('/usr/bin', os.O_RDONLY)
for command in (fcntl.F_NOTIFY, fcntl.F_SETLEASE):
    try: fcntl.fcntl(d, command, 1); print('ESCAPED', command)
    except OSError: pass)x"},
    {"LocksHostFiles", "python", R"x(import fcntl
f = open('/usr/bin/python3', 'rb')
try: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB); print('ESCAPED')
except OSError: pass)x"},
    {"SignalStorm", "python", R"x(import os, signal, time
for s in range(1, 64):
    try: signal.signal(s, lambda *_: None)
    except (OSError, ValueError): pass
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
end = time.time() + 0.2
while time.time() < end:
    os.kill(0, signal.SIGUSR1); os.kill(os.getpid(), signal.SIGTERM))x"},
    {"SessionBomb", "python", R"x(import os, time
for _ in range(100):
    try:
        if os.fork() == 0: os.setsid(); os.setpgid(0, 0) if os.getsid(0) != os.getpid() else None
    except OSError: break
time.sleep(0.1))x"},
    {"PassedDescriptors", "python", R"x(import socket, array
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
try:
    for _ in range(100000):
        x, y = socket.socketpair()
        a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [x.fileno(), y.fileno(), a.fileno()]))], socket.MSG_DONTWAIT)
        x.close(); y.close()
except OSError: pass)x"},
    {"PipeMemory", "python", R"x(import os, fcntl
n = 0
try:
    while True:
        r, w = os.pipe(); fcntl.fcntl(w, 1031, 1 << 20)
        os.set_blocking(w, False); n += os.write(w, b'x' * (1 << 20))
except OSError: pass
if n > 128 << 20: print('ESCAPED', n))x"},
    {"HugeArguments", "python", R"x(import os
try: os.execv('/bin/true', ['x' * 100000] * 2000)
except (OSError, MemoryError): pass)x"},
    {"ExecLoop", "python", R"x(import os, sys
os.execv('/bin/sh', ['sh', '-c', 'exec "$0" -c "$1" "$0" "$1"', '/bin/sh', 'while :; do exec "$0" -c "$1" "$0" "$1"; done']))x"},
    {"Scheduling", "python", R"x(import os, resource, ctypes
for f in (lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)), lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
          lambda: os.setpriority(os.PRIO_USER, 0, -5), lambda: os.sched_setparam(0, os.sched_param(9))):
    try: f(); print('ESCAPED')
    except OSError: pass
if os.getpriority(os.PRIO_PROCESS, 0) < 0: print('ESCAPED negative')
os.nice(5)
try: os.nice(-1); print('ESCAPED upwards')
except OSError: pass
libc = ctypes.CDLL(None)
if libc.mlock(ctypes.create_string_buffer(1 << 16), 1 << 16) == 0: print('ESCAPED mlock'))x"},
    {"LimitsOfOthers", "python", R"x(import resource
for pid in (1, 2, 3):
    try: resource.prlimit(pid, resource.RLIMIT_NOFILE); print('ESCAPED' if pid == 1 else '')
    except OSError: pass)x"},
    {"SymlinksToTheHost", "python", R"x(import os
for target in ('/etc/shadow', '/proc/1/' 'root/etc/shadow', '/proc/self/' 'root/../etc/shadow', '/dev/../etc/shadow', '/proc/self/cwd/../../../etc/shadow'):
    os.symlink(target, 'l')
    try: open('l').read(1); print('ESCAPED', target)
    except OSError: pass
    os.unlink('l')
os.symlink('/usr/bin', 'd')
try: open('d/planted', 'w'); print('ESCAPED')
except OSError: pass)x"},
    {"HardLinks", "python", R"x(import os
for path in ('/usr/bin/python3', '/.box/driver.py', '/etc/passwd', '/proc/self/exe'):
    try: os.link(path, '/tmp/link'); print('ESCAPED', path); os.unlink('/tmp/link')
    except OSError: pass
for path in ('/usr/bin/env', '/.box/driver.py', '/etc/passwd'):
    for f in (lambda: os.unlink(path), lambda: os.rename(path, path + '2'), lambda: os.truncate(path, 0), lambda: os.utime(path), lambda: os.setxattr(path, 'user.a', b'1')):
        try: f(); print('ESCAPED', path)
        except OSError: pass)x"},
    {"FdOfTheRoot", "python", R"x(import os
d = os.open('/', os.O_RDONLY | os.O_DIRECTORY)
for path in ('..', '../..', '../etc/shadow', '../root'):
    try:
        found = os.open(path, os.O_RDONLY, dir_fd=d)
        if os.fstat(found).st_ino != os.fstat(d).st_ino: print('ESCAPED', path)
    except OSError: pass
try: os.fchdir(d); os.chdir('../../..'); print('ESCAPED' if os.path.exists('root') else '')
except OSError: pass)x"},
    {"ProcOfThreads", "python", R"x(import os
for path in ('/proc/thread-self/attr/current', '/proc/self/coredump_filter', '/proc/self/timerslack_ns', '/proc/self/clear_refs', '/proc/self/setgroups',
             '/proc/self/gid_map', '/proc/self/projid_map', '/proc/self/comm', '/proc/self/task/1/comm', '/proc/1/comm', '/proc/self/autogroup'):
    try: open(path, 'w').write('0'); print('ESCAPED', path)
    except OSError: pass
for name in ('net', 'mnt', 'pid', 'user', 'ipc'):
    try: os.open(f'/proc/1/ns/{name}', os.O_RDONLY); print('ESCAPED', name)
    except OSError: pass)x"},
    {"NamespacesByNameOfProc", "python", R"x(import os, ctypes
libc = ctypes.CDLL(None, use_errno=True)
for name in os.listdir('/proc/self/ns'):
    fd = os.open('/proc/self/ns/' + name, os.O_RDONLY)
    if libc.setns(fd, 0) == 0: print('ESCAPED', name))x"},
    {"Capabilities", "python", R"x(for line in open('/proc/self/status'):
    if line.startswith('Cap') and int(line.split()[1], 16) != 0: print('ESCAPED', line)
    if line.startswith('NoNewPrivs') and line.split()[1] != '1': print('ESCAPED', line)
    if line.startswith('Seccomp:') and line.split()[1] != '2': print('ESCAPED', line)
    if line.startswith('Groups') and line.split()[1:] not in ([], ['65534']): print('ESCAPED', line))x"},
    {"MemoryFileProgram", "python", R"x(import os, sys
fd = os.memfd_create('x') if hasattr(os, 'memfd_create') else -1
os.write(fd, b"#!/bin/sh\ncat /etc/shadow && echo ESCAPED; cat /proc/1/environ && echo ESCAPED; ls /root && echo ESCAPED\n")
os.set_inheritable(fd, True)
os.execv(f'/proc/self/fd/{fd}', ['x']))x"},
    {"HugePagesAndRemaps", "python", R"x(import mmap
for flags in (mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x2000):
    try: m = mmap.mmap(-1, 64 << 20, flags=flags); m[::1 << 21] = b'x' * 32
    except (OSError, ValueError): pass)x"},
    {"ManyMappings", "cpp", R"x(#include <sys/mman.h>
#include <cstdio>
int main() { for (int i = 0; i < 200000; ++i) { char* p = (char*)mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); if (p == MAP_FAILED) break; p[0] = 1; mprotect(p + 4096, 4096, PROT_NONE); } })x"},
    {"TimersAndThreads", "cpp", R"x(#include <ctime>
#include <csignal>
#include <cstdio>
int main() { signal(SIGALRM, SIG_IGN); int n = 0; timer_t t; sigevent e{}; e.sigev_notify = SIGEV_SIGNAL; e.sigev_signo = SIGALRM; while (n < 200000 && timer_create(CLOCK_REALTIME, &e, &t) == 0) { itimerspec s{{0, 1000}, {0, 1000}}; timer_settime(t, 0, &s, 0); ++n; } if (n > 100000) puts("ESCAPED"); })x"},
    {"KernelToKernel", "cpp", R"x(#include <fcntl.h>
#include <unistd.h>
#include <sys/sendfile.h>
int main() { int z = open("/dev/zero", O_RDONLY), n = open("/dev/null", O_WRONLY), p[2]; pipe(p); for (;;) { splice(z, 0, p[1], 0, 1 << 20, 0); splice(p[0], 0, n, 0, 1 << 20, 0); sendfile(n, z, 0, 1 << 30); } })x"},
    {"VforkSleeper", "cpp", R"x(#include <unistd.h>
#include <csignal>
int main() { for (int s = 1; s < 64; ++s) signal(s, SIG_IGN); if (vfork() == 0) { pause(); sleep(1000); _exit(0); } })x"},
    {"Locale", "python", R"x(import os, time, locale
os.environ['TZ'] = '../../../../etc/shadow'; time.tzset()
os.environ['LOCPATH'] = '/root'
try: locale.setlocale(locale.LC_ALL, 'xx_XX')
except locale.Error: pass
print(time.tzname))x"},
    {"StreamsReplaced", "python", R"x(import os
for fd in (0, 1, 2):
    os.close(fd); os.open('/dev/full', os.O_RDWR)
os.write(1, b'x'))x"},
};

class UnusualAttack : public testing::TestWithParam<Kind> {};

TEST_P(UnusualAttack, IsWithstood) {
  for (const auto& attack : kAttacks) {
    SCOPED_TRACE(attack.name);
    const Result result = sandbox_of(GetParam()).run(script(attack.code, attack.language));
    EXPECT_EQ(result.out.find("ESCAPED"), std::string::npos) << result.out;
    EXPECT_NE(result.verdict, Verdict::kInternalError) << result.reason;
    EXPECT_NE(result.verdict, Verdict::kCompileError) << result.err;
    EXPECT_EQ(result.err.find("SyntaxError"), std::string::npos) << result.err;
    EXPECT_LT(result.wall_s, 2.5);
    EXPECT_EQ(sandbox_of(GetParam()).run(honest("print(6 * 7)")).out, "42\n");
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, UnusualAttack, testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ponder::sandbox
