# file: ggq/ops/activation.cpp
# test: every op that is no view has a kernel for each device*
s/\.kernel = kernels::swiglu,/.kernel = {cpu::swiglu},/
