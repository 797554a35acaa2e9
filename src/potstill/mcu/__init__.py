"""Microcontrollers: an int8 .tflite file as plain C with a static memory plan, built for a core, run on an emulated one and compared code
by code with TensorFlow Lite Micro.

Loads no torch. What is read here is a file's graph; exporters and `verify` call it. Kernels lie in `kernels`, what starts and
checks a program on a core in `target`.
"""
