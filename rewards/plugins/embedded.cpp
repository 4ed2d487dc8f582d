#include "rewards/plugins/embedded.h"

// The assembler takes the files in; the build names them (rewards/CMakeLists.txt).
#define PONDER_EMBED(name, file)                                                 \
  asm(".section .rodata\n.balign 16\n.globl ponder_embedded_" #name              \
      "\n.globl ponder_embedded_" #name                                          \
      "_end\n"                                                                   \
      "ponder_embedded_" #name ":\n.incbin \"" file "\"\nponder_embedded_" #name \
      "_end:\n.byte 0\n.previous\n");                                            \
  extern "C" const char ponder_embedded_##name[], ponder_embedded_##name##_end[]

PONDER_EMBED(plugin_host, PONDER_PLUGIN_HOST);
PONDER_EMBED(python_worker, PONDER_PYTHON_WORKER);
PONDER_EMBED(reward_plugin_header, PONDER_REWARD_PLUGIN_HEADER);

namespace ponder::rewards {

std::string_view plugin_host() {
  return {ponder_embedded_plugin_host, ponder_embedded_plugin_host_end};
}
std::string_view python_worker() {
  return {ponder_embedded_python_worker, ponder_embedded_python_worker_end};
}
std::string_view reward_plugin_header() {
  return {ponder_embedded_reward_plugin_header, ponder_embedded_reward_plugin_header_end};
}

}  // namespace ponder::rewards
