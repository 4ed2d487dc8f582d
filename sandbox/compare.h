// Whether a program printed what was expected.
#pragma once

#include <string_view>

namespace ponder::sandbox {

// Line by line and byte by byte; blanks and carriage returns at line ends and empty lines at the
// end are forgiven, nothing else: no number parsing (NaN, huge integers), no stop at NUL, no
// joining of words. O(|got| + |expected|), no copies.
bool same_output(std::string_view got, std::string_view expected);

}  // namespace ponder::sandbox
