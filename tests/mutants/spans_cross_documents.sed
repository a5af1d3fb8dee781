# file: models/text/batches.cpp
# test: batches: every token*
s/batch\.spans\[2 \* (start + i)\] = static_cast<int32_t>(start)/batch.spans[2 * (start + i)] = 0/
