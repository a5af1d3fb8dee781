# file: ggq/restore_steps.cpp
# test: restored ahead and shared*
s/s\.after\.push_back(restore_waited_for_ = r\.step);/restore_waited_for_ = r.step;/
