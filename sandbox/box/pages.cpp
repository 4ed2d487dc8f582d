#include "sandbox/box/pages.h"

#include <cstdint>
#include <cstdio>
#include <cstring>

#include <dlfcn.h>
#include <sys/mman.h>

namespace ponder::sandbox {

namespace {

constexpr uintptr_t kHugeBytes = 2UL << 20;
constexpr size_t kRegionBytes = 32UL << 20;  // of addresses; what stays unused is given back

char* region = nullptr;
char* region_next = nullptr;
char* region_end = nullptr;

uintptr_t round_up(uintptr_t address) {
  return (address + kHugeBytes - 1) & ~(kHugeBytes - 1);
}

void* map(size_t size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

// `size` bytes at a multiple of kHugeBytes, null where there are none.
char* map_aligned(size_t size) {
  char* memory = static_cast<char*>(map(size + kHugeBytes));
  if (memory == nullptr) return nullptr;
  char* begin = reinterpret_cast<char*>(round_up(reinterpret_cast<uintptr_t>(memory)));
  if (begin != memory) munmap(memory, static_cast<size_t>(begin - memory));
  munmap(begin + size, static_cast<size_t>(memory + kHugeBytes - begin));
  return begin;
}

// CPython's PyObjectArenaAllocator (C API since 3.4).
struct ArenaAllocator {
  void* context;
  void* (*allocate)(void*, size_t);
  void (*release)(void*, void*, size_t);
};

void* allocate_arena(void*, size_t size) {
  if (static_cast<size_t>(region_end - region_next) < size) return map(size);
  char* arena = region_next;
  region_next += size;
  return arena;
}

void release_arena(void*, void* arena, size_t size) {
  munmap(arena, size);
}

}  // namespace

void gather_objects() {
  auto* set = reinterpret_cast<void (*)(ArenaAllocator*)>(
      dlsym(RTLD_DEFAULT, "PyObject_SetArenaAllocator"));
  if (set == nullptr || (region = map_aligned(kRegionBytes)) == nullptr) return;
  region_next = region;
  region_end = region + kRegionBytes;
  madvise(region, kRegionBytes, MADV_HUGEPAGE);
  ArenaAllocator allocator{nullptr, allocate_arena, release_arena};
  set(&allocator);
}

void pack_pages() {
  if (region == nullptr) return;
  char* used = reinterpret_cast<char*>(round_up(reinterpret_cast<uintptr_t>(region_next)));
  munmap(used, static_cast<size_t>(region_end - used));
  region_end = region_next;
}

}  // namespace ponder::sandbox
