// The only compiler-specific lines of the core.
#ifndef TM_BASE_ATTR_H
#define TM_BASE_ATTR_H

#if defined(__GNUC__) || defined(__clang__)
#define TM_NODISCARD         __attribute__((warn_unused_result))
#define TM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define TM_LIKELY(x)         __builtin_expect(!!(x), 1)
#define TM_UNLIKELY(x)       __builtin_expect(!!(x), 0)
#define TM_API               __attribute__((visibility("default")))
#define TM_ALWAYS_INLINE     inline __attribute__((always_inline)) // measured loops only
#else
#define TM_NODISCARD
#define TM_PRINTF(fmt, args)
#define TM_LIKELY(x)   (x)
#define TM_UNLIKELY(x) (x)
#define TM_API
#define TM_ALWAYS_INLINE inline
#endif

#define TM_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
