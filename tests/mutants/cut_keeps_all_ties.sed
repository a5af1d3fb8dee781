# file: kernels/cpu/sample.cpp
# test: sampler: the op does what sorting does*
s/key == cut\.key \&\& cut\.ties == 0/false/
