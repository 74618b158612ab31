"""The library's face: our losses, metrics, networks and data sets beside whatever else bears these names.

    from calibrated_segmentation import losses, metrics

The rooms lie at the top level (`import losses`); a project with a folder `losses` of its own would find that instead.
Under this package they are always ours, and the same class objects as at the top level wherever that is ours too.

>>> import losses as top_level
>>> from calibrated_segmentation import losses
>>> losses.DiceLoss is top_level.DiceLoss
True
"""

from .rooms import claim, serve

__all__ = ["claim", "datamodules", "losses", "metrics", "models"]  # the rooms are imported when asked for

serve()
