# file: models/train/checkpoint.cpp
# test: exactness: an interrupted run that goes on*
s/for (const auto& \[name, buffer\] : saved_state(engine)) /&if (name.empty()) /
