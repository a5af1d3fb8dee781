# file: models/train/trainer_state.cpp
# test: counters: a resumed run has the loss scale*
/c\.loss_scale = own/d
