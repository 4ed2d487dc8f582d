// Lays out the memory of a warm interpreter so that forks of it are cheap: in huge pages. A fork
// copies one entry for each page that is mapped and takes a fault for each that is used, and most
// of a warm run's time goes there.
#pragma once

namespace ponder::sandbox {

// Gives CPython's small objects a region of their own. To be called before the modules are loaded
// that every run shall find loaded. Without effect where the interpreter or the kernel lacks what
// it takes.
void gather_objects();

// The interpreter is complete: what is mapped becomes huge pages, where it can. Objects that are
// made later get pages of their own.
void pack_pages();

}  // namespace ponder::sandbox
