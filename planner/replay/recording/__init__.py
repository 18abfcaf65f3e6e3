"""What a replay records, and what can be made of it: peaks, timelines, snapshots."""
