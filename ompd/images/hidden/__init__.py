"""Features of an image without their places: hidden mode.

Extrema are found as in extract mode, but never opened. One slot per cell of an image holds what is
described there, if anything is; slots are shuffled before it is opened which of them are taken, so
that two clouds learn how many features there are and nothing else.

====================  =============================================================
`layout`              what is computed on an image of a size: public
`material`            the dealer's correlated randomness for it
`concealment`         a cloud's part
`reading`             what a physician makes of disclosed features
`own`                 features of an own image, for templates
====================  =============================================================
"""
