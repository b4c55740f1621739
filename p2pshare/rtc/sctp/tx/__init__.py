"""The sending half: queues, what is outstanding, loss recovery, congestion control, trains."""
