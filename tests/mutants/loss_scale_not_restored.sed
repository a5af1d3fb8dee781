# file: models/train/checkpoint.cpp
# test: counters: a resumed run has the loss scale*
/counters\.loss_scale = /d
