"""What a quantised model is: its ranges and scales as a file, its graph, and that graph with rounded numbers.

Knows nothing of data, training or formats: `compress` finds the numbers, `exporters` realise them, and both read them here.
"""
