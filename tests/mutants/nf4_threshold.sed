# file: kernels/cpu/quantize.cpp
# test: a value on a threshold takes the lower code*
s/code += x\[i\] > kNf4Thresholds/code += x[i] >= kNf4Thresholds/
