# file: ggq/recompute.cpp
# test: a value made of state that is overwritten later*
s/return by >= 0 \&\& by < now_;/return by >= 0 \&\& by < now_ - now_;/
