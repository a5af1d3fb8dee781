# file: models/train/schedule.h
# test: schedule: *
s/? 1 - progress :/? 1 - progress \/ 2 :/
