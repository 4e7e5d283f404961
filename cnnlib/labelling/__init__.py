"""Label images on a page, and train with what is new: unlabelled images become a better model."""
