// Files that travel inside the library as bytes, so that nothing has to be found or installed when
// a plugin runs.
#pragma once

#include <string_view>

namespace ponder::rewards {

std::string_view plugin_host();           // the executable that loads C ABI plugins
std::string_view python_worker();         // the script that runs Python rewards
std::string_view reward_plugin_header();  // reward_plugin.h, for `ponder reward new`

}  // namespace ponder::rewards
