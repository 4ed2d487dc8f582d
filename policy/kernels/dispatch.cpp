#include <cstdlib>
#include <cstring>
#include <vector>

#include "policy/kernels/tables.h"

namespace ponder::policy::kernels {
namespace {

std::vector<const Table*> runnable() {
  std::vector<const Table*> out;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni"))
    out.push_back(&kAvx512Bf16Table);
  if (avx512) out.push_back(&kAvx512Table);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) out.push_back(&kAvx2Table);
#endif
  out.push_back(&kPlainTable);
  return out;
}

const std::vector<const Table*>& tables() {
  static const std::vector<const Table*> kTables = runnable();
  return kTables;
}

const Table& choose() {
  const char* wanted = std::getenv("PONDER_KERNELS");
  for (const Table* table : tables()) {
    if (wanted != nullptr && std::strcmp(wanted, table->name) == 0) return *table;
  }
  return *tables().front();
}

}  // namespace

const Table& best() {
  static const Table& kBest = choose();
  return kBest;
}

int num_tables() {
  return static_cast<int>(tables().size());
}

const Table& table(int index) {
  return *tables().at(index);
}

}  // namespace ponder::policy::kernels
