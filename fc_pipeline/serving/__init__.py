"""What applications read: functions and views under stable names, over tables that may change."""
