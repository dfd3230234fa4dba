// Large results on huge pages.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace pypose {

// From this size on malloc takes fresh memory from the system for every result.
constexpr size_t huge_bytes = 4 << 20;

// Asks the system for pages of 2 MiB where a result is about to be written for the first time.  A page costs a fault,
// and of 4 KiB each these take several times as long as to fill them.  Where the system gives none, nothing changes.
inline void prefer_huge_pages(void* data, size_t bytes) {
#ifdef __linux__
  constexpr uintptr_t page = 2 << 20;
  if (bytes < huge_bytes) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / page * page;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace pypose
