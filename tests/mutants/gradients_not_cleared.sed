# file: models/train/parameters.cpp
# test: training runs equal PEFT*
/fill(graph\.bind(\*gradients_), 0);/d
