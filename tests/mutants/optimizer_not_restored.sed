# file: models/train/checkpoint.cpp
# test: exactness: an interrupted run that goes on*
/saved_state(engine)) load_exact(/d
