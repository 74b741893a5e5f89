"""Mannequin: a synthetic clothed person with exact DensePose-style part and UV maps.

Space is metres, right-handed: x towards the person's left, y towards the back, z up; a person
at yaw 0 looks along -y, at the camera. Everything is a function of integer seeds.
"""

VERSION = 1
