# SPDX-License-Identifier: GPL-2.0
"""A name with each character that a shell, QEMU, ssh, apt or a URL may stumble on."""

NAME = """-odd  ü, 'q' "d" %h%n $HOME ${x} #1 & ;x: \\ ~ * ? ! [a] (b) {c} <d> | ` @ = + ^é"""
