# file: models/train/checkpoint.cpp
# test: exactness: an interrupted run that goes on*
/load_exact(store, \*buffer, optimizer/d
