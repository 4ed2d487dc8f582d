// The parts of the table of filters.
#pragma once

#include <map>
#include <string>

#include "policy/jinja/library.h"

namespace ponder::policy::jinja {

void add_text_filters(std::map<std::string, Function>& table);
void add_list_filters(std::map<std::string, Function>& table);

}  // namespace ponder::policy::jinja
