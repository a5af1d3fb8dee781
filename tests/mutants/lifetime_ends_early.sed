# file: ggq/plan.cpp
# test: every tensor is alive from the step*
s/for (int32_t t : s\.in) owner(t)\.last = i;/for (int32_t t : s.in) owner(t).last = i - 1;/
