#include "policy/kernels/generic.h"
#include "policy/kernels/tables.h"

namespace ponder::policy::kernels {

const Table kPlainTable = make_table("plain");

}  // namespace ponder::policy::kernels
