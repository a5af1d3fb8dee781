# file: ggq/recompute.cpp
# test: a value made of state that is overwritten later*
s/return by >= 0 && done(by);/return by >= 0 \&\& done(by) \&\& by < 0;/
