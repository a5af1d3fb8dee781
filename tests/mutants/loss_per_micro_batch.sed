# file: models/train/engine.cpp
# test: exactness: 16 x 1*
s/static_cast<float>(scale \/ labels)/static_cast<float>(scale \/ labels * static_cast<double>(update.micro_batches.size()))/
