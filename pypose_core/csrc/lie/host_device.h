// PP_HD marks a row function: one row of a batch in, one row out, no memory of its own, so that the
// CPU driver and the CUDA driver share it.
#pragma once

#if defined(__CUDACC__)
#define PP_HD __host__ __device__ __forceinline__
#elif defined(PYPOSE_SANITIZED)     // checks at every access of what is inlined into one function: hours to compile
#define PP_HD inline
#else
#define PP_HD inline __attribute__((always_inline))
#endif

// PP_CALLED marks what is called on the CPU, not inlined: what many operations share and few rows need, and what
// derivatives of derivatives are made of, which would take minutes to compile.
#if defined(__CUDACC__)
#define PP_CALLED PP_HD
#else
#define PP_CALLED __attribute__((noinline))
#endif
