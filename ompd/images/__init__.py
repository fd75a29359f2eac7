"""Features of images that nobody who computes on them sees: SIFT on additive shares.

Two clouds that do not work together hold ``image + r0 + r1`` modulo 2^64 and one of the masks each.
Every linear form of the masked image is public up to a mask that the dealer knows, so that a
comparison is one of a public number with a secret one of the dealer. The parties are in
`ompd.roles.imaging`; this package has what they compute.

====================  =============================================================
`geometry`            what is computed on an image of a size: public
`operators`           scale space as linear forms
`material`            the dealer's correlated randomness
`comparing`           what both modes have in common in a cloud
`extraction`          a cloud's part in extract mode
`hidden`              hidden mode, the default
`modes`               either, by name
`reading`             the physician's part: keypoints, orientations, descriptors
`features`            shares of descriptors and of templates
`match_plan`          what is computed for so many of them: public
`match_material`      what the dealer gives for a match
`matching`            a cloud's part of a match
`files`               images from DICOM, PNG and NumPy files
====================  =============================================================
"""

from ompd.images.files import read_image
from ompd.images.reading import Features

__all__ = ["Features", "read_image"]
