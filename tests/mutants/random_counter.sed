# file: models/train/engine.cpp
# test: counters: every micro-batch has a dropout mask of its own
s/counters_\.micro_batches\([})]\)/0\1/
