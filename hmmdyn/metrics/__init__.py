"""From arrays to numbers: functions of the weights, computed once per checkpoint."""
