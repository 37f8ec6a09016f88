/* What one core does at most: multiply-adds in registers, in independent chains, no memory. Built by benchmarks/cpu.py.
 *
 * Each function does so many rounds of CHAINS instructions and returns their operations, two a multiply-add; 0 where the
 * compiler's target has no such instruction. In assembly: what compilers make of the intrinsics moves registers about. */

/* More than the latency of a multiply-add times the two that begin each cycle. */
enum { CHAINS = 12 };

#if defined(__AVX512F__)
#define VECTOR 64
#define ZERO "vpxord %0, %0, %0"
#elif defined(__AVX2__) && defined(__FMA__)
#define VECTOR 32
#define ZERO "vpxor %0, %0, %0"
#endif

#ifdef VECTOR
typedef int vector __attribute__((vector_size(VECTOR)));

/* Each chain is a variable of its own, which stays in a register; all start at zero and stay there, so that no number is
 * denormal or overflows. */
#define EACH(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11)
#define BEGIN(n) vector sum##n; __asm__ volatile(ZERO : "=v"(sum##n));
#define ADD(n) __asm__ volatile(INSTRUCTION " %1, %1, %0" : "+v"(sum##n) : "v"(zero));
#define PEAK                                 \
    vector zero;                             \
    __asm__ volatile(ZERO : "=v"(zero));     \
    EACH(BEGIN)                              \
    for (long round = 0; round < rounds; round++) { EACH(ADD) }
#endif

double peak_f32(long rounds) {
#ifdef VECTOR
#define INSTRUCTION "vfmadd231ps"
    PEAK
#undef INSTRUCTION
    return 2.0 * rounds * CHAINS * (VECTOR / 4);
#else
    (void)rounds;
    return 0;
#endif
}

double peak_bf16(long rounds) {
#if defined(__AVX512BF16__)
#define INSTRUCTION "vdpbf16ps"
    PEAK
#undef INSTRUCTION
    return 2.0 * rounds * CHAINS * (VECTOR / 2);
#else
    (void)rounds;
    return 0;
#endif
}

double peak_int8(long rounds) {
#if defined(__AVX512VNNI__)
#define INSTRUCTION "vpdpbusd"
    PEAK
#undef INSTRUCTION
    return 2.0 * rounds * CHAINS * VECTOR;
#elif defined(__AVXVNNI__) && defined(VECTOR)
#define INSTRUCTION "%{vex%} vpdpbusd"
    PEAK
#undef INSTRUCTION
    return 2.0 * rounds * CHAINS * VECTOR;
#else
    (void)rounds;
    return 0;
#endif
}
