# file: ggq/recompute.cpp
# test: a step that writes state runs once*
s/none_of(step\.out, writes_state) \&\& /none_of(step.out, writes_state) || /
