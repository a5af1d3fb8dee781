# file: kernels/cpu/adamw.cpp
# test: golden: adamw follows*
s/correction1 = static_cast<T>(1 - __builtin_pow(b1, step));/correction1 = static_cast<T>(1);/
