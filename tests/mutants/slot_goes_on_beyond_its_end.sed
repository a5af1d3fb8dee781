# file: kernels/cpu/next_token.cpp
# test: next token: a row goes on*
s/token < 0 || position >= n_log/token < 0/
