"""The errors a user can cause. Their messages name the limit and the value found."""


class SPRDiffError(Exception):
    """Base of every error raised for bad input; anything else is a bug."""


class InputImageError(SPRDiffError):
    """What was given is not an image, or not one within the limits of ``sprdiff.images``."""


class BitstreamError(SPRDiffError):
    """Bytes that are not a whole, unaltered stream of the loaded checkpoint."""


class WeightsError(SPRDiffError):
    """Weights that cannot be found, downloaded or trusted."""


class HubError(SPRDiffError):
    """What cannot be uploaded: it is incomplete, or the Hugging Face Hub refuses it or cannot be reached."""


class PackageError(SPRDiffError):
    """An optional package that is not installed; the message says how to get it."""


class SettingsError(SPRDiffError):
    """A setting outside its range, for example a bitrate of zero or an unknown method id."""
