"""Many photographs through one task: found, worked on, written and noted, so that a run can stop and go on."""
