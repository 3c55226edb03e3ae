"""Every sentence of the page, in one place; no layout and no logic."""

TITLE = "SPRDiff"
TAGLINE = "Photographs at a few hundred bytes"
PAPER_URL = "https://arxiv.org/abs/2606.01608"

PICTURE_LABEL = "Picture"
PICTURE_NOTE = "Drop, paste or choose a photograph; it stays on the machine that serves this page."
PICTURE_ACTION = "Choose a photograph"
EXAMPLES_LABEL = "Examples"
EXAMPLES_NOTE = "Four free photographs, none of them used for training."
TARGET_LABEL = "Target"
TARGET_NOTE = "A ceiling for the whole file, header included; every codec gets the same one."
METHODS_LABEL = "Against"
METHODS_NOTE = (
    "Each codec searches its own scale and quality for the best PSNR that fits. The last three are "
    "learned and fetch their weights once."
)
RUN = "Compare"
STOP = "Stop"
RUN_NOTE = "The coarse picture comes first, then the final one, then the others, then their numbers."

SLIDER_TITLE = "Any two, one slider"
SLIDER_NOTE = "Choose two panels and drag the line between them."
SLIDER_LEFT = "Left"
SLIDER_LEFT_NOTE = "Shown left of the line."
SLIDER_RIGHT = "Right"
SLIDER_RIGHT_NOTE = "Shown right of the line."

SWEEP_LABEL = "Curves"
SWEEP_NOTE = "The photograph of the Compare tab at six budgets from 0.005 to 0.1 bits per pixel."
SWEEP_RUN = "Draw"
SWEEP_RUN_NOTE = "Points appear as they are measured; click one to see its picture."
SWEEP_EMPTY = "Nothing is measured yet: press Draw."

DECODE_LABEL = "Compressed file"
DECODE_NOTE = "Drop a .spr file made with the loaded model; only its bytes are used, no original is needed."
DECODE_ACTION = "Choose a .spr file"
DECODE_TITLE = "Only the bytes"
DECODE_LEAD = (
    "Both pictures come out of the file alone: first the coarse one, then the one that the diffusion model "
    "makes from it."
)

PUBLISHED_NOTE = (
    "What the authors of other codecs reported, each with its source, and what we measured ourselves. "
    "Nothing published was run here. LPIPS with AlexNet and with VGG are different numbers, and so are "
    "MS-SSIM on RGB and on luma: each has an axis of its own."
)
OURS_LABEL = "{label}, ours"
OURS_SOURCE = "Measured by this project with its own weights, from the bytes of real files"

NO_PICTURE = "Choose a photograph first."
NO_UPLOAD = "This file did not arrive through the page; choose it again."
NO_METHOD = "Choose at least one codec."
STARTING = "Starting"
READING_PICTURE = "Reading the picture"
READING_FILE = "Reading the file"
READING_SYMBOLS = "Reading the symbols"
DIFFUSION = "Diffusion step"
IS_READY = "{label} is ready"
ARE_MEASURED = "{count} of {all} metrics are there"
LOOKED_INTO = "Counted where the bits went"
METHOD_FAILED = "it failed on this picture; the server's log says why"
MISSING = "{label} is left out: {reason}."
BITS_LEGEND = (
    "Bits spent on each {side} × {side} block, from the probabilities that coded them: {mean:.1f} on "
    "average, {total} in all."
)
DRAWING = "Drawing the figure"
FIGURE_READY = "The figure is ready below the table."
ANIMATING = "Making the animation"
FLICKER_READY = "The animation is ready below the table."
NOTHING_TO_TAKE = "Compare something first; figures and animations are made of a finished comparison."
FETCHING = "Fetching the weights of the metrics"
FETCHING_SHARE = "Fetching {size} of weights for the metrics, {percent} %"
CELL_FETCHING = "fetching weights"
CELL_SHARE = "fetching weights, {percent} %"
BUSY = "Waiting for another run to finish"
WAITING = "Others were first: number {number} in the line"
FULL = "{count} runs are waiting already, as many as may; try again in a few minutes."
DISK = "The server cannot write its files ({reason}); its log names the file."
PAGE_CLOSED = "The page was closed."
PROBLEM = "That did not work"
UNEXPECTED = "Something went wrong on the server; its log says what."
STOPPED = "Stopped; what was ready is kept."
CACHED = "From the cache: the same picture and settings were compared before."

MODEL_LABEL = "Model"
MODEL_FETCHING = "Downloading the model"
MODEL_FETCHED = "{received} of {total}, {percent} %"
MODEL_WAITING = "Model not loaded yet"
MODEL_LOADING = "Loading the model"
MODEL_READY = "Model ready"
MODEL_FAILED = "No model"
NO_MODEL = "There is no model {name!r} here, only: {names}."
MODEL_KEPT = "{name} cannot be used, so {kept} stays. {reason}"
OTHER_MODEL = "{reason} Choose the model on this page that made the file, then open it again."

METRICS = {
    "psnr-rgb": (
        "PSNR",
        "The squared error of 8-bit RGB, in decibels. It sees every change of a pixel and overlooks whether "
        "a viewer would notice: blur scores well, detail a little out of place badly.",
    ),
    "ms-ssim-rgb": (
        "MS-SSIM",
        "Structural similarity on RGB at five scales, 1 for identical pictures. It sees whether edges and "
        "contrasts are kept and nearly overlooks even shifts of brightness or colour.",
    ),
    "lpips-alex": (
        "LPIPS",
        "Distance between features of AlexNet, weighted by what people judged, 0 for identical pictures. It "
        "sees blur and artefacts and overlooks much that is small, such as another letter in a word.",
    ),
    "dists": (
        "DISTS",
        "Distance in structure and texture between features of VGG-16, 0 for identical pictures. It sees "
        "whether a texture is of the same kind and largely overlooks where exactly its parts lie.",
    ),
    "lpips-vgg": (
        "LPIPS VGG",
        "As LPIPS, with features of VGG-16, so that fine texture counts more. It overlooks what a picture "
        "means just as much, and its numbers do not compare with those of AlexNet.",
    ),
}
"""Short name of each metric of the page, and a sentence on what it is, sees and overlooks."""

TABLE_ONLY = ("lpips-vgg",)
"""Metrics that have a column in the table and no place beside the pictures."""

NOT_MEASURED = "Not measured."

API_COMPRESS = (
    "Compresses a picture, with the named model, to a .spr file of at most target_bpp bits per pixel; also "
    "its facts."
)
API_DECOMPRESS = (
    "Decodes a .spr file: the coarse picture, the final picture (PNG), and the header and byte split. A file "
    "of a model that was used before is known to be that model's, whichever is named."
)
API_COMPARE = (
    "Compares SPRDiff, with the named model, and the named codecs under one budget: a row per method, and "
    "every file and picture."
)

BLIND_LEAD = (
    "Two reconstructions of a picture that you have compared, each within the same budget of bytes and "
    "without its name: say which is nearer to the original."
)
BLIND_NOT_KEPT = "Your answers stay in this browser."
BLIND_KEPT = (
    "The answers are kept on this server, with the names of the methods and without yours or your pictures'."
)
BLIND_EMPTY = "Compare a picture first, with at least two methods whose files fit the budget."

HOW_LEAD = (
    "SPRDiff spends its few hundred bytes on what a picture shows, not on its pixels, and lets a diffusion"
    " model draw the rest. The file holds one small integer grid. Everything else is made again by the "
    "decoder."
)
HOW_STEPS = (
    (
        "Three encoders look",
        "A VAE encoder sees what the diffusion model will need, a distortion-oriented encoder what keeps "
        "pixels in place, a semantic-oriented encoder what things are. Their features are fused into one "
        "latent.",
    ),
    (
        "The latent becomes bytes",
        "A hyperprior and a spatial and channel context predict every symbol; an entropy coder writes them. "
        "The prediction runs in exact integer arithmetic, so every machine reads the same symbols.",
    ),
    (
        "A coarse picture first",
        "The decoder makes a plain picture from the latent. It keeps the main structures and is faithful, "
        "but soft.",
    ),
    (
        "Two conditions, no bits",
        "From that coarse picture the decoder takes semantic tokens and pixel features. The encoder sends "
        "nothing for them.",
    ),
    (
        "One diffusion step",
        "The coarse picture goes into the VAE's latent space and is half buried in noise, deeper where bits "
        "are few. In one step a U-Net, guided by both conditions, makes clean and detailed latents of it, "
        "and the VAE decoder a picture. The colours of large areas stay those of the coarse one.",
    ),
)
HOW_PAPER = (
    "The triple encoder and its fusion before entropy coding",
    "The distortion-aware reconstruction module that makes the coarse picture",
    "Semantic and pixel conditions taken from the coarse picture at the decoder",
    "A conditional diffusion model in the VAE's latent space",
)
HOW_OURS = (
    "All code and all weights: the authors had released neither when this was written",
    "The file format, its checksum and the model's fingerprint in it",
    "Integer arithmetic for the entropy model, so that files travel between machines",
    "One model for every bitrate, and a byte budget that is kept",
    "A small model that runs on two processor cores",
)
HOW_LIMITS = (
    "The embedded model is small and was trained for hours, not weeks. It does not reach the paper's "
    "figures.",
    "The final picture is a plausible one, not a faithful one: small text, faces and fine patterns are "
    "invented or lost. Do not read evidence from it.",
    "Of its two conditions the embedded model needs the pixel features; the semantic tokens bring "
    "nothing yet.",
    "PSNR usually falls from coarse to final. That is the price of detail, and the table shows it.",
    "At these rates most classical codecs only fit the budget after shrinking the picture; the scale is "
    "shown.",
    "LPIPS and DISTS need weights that are downloaded once. Without them the cell holds a dash and the "
    "reason.",
)
HOW_NUMBERS = (
    "Every picture on this page is decoded from the file offered beside it. Bits per pixel are eight times"
    " that file's bytes over the original's width times height. PSNR and MS-SSIM are measured on 8-bit "
    "RGB, LPIPS with AlexNet. On processors with AMX most of VGG-16, under LPIPS VGG and DISTS, runs in "
    "bfloat16: within 0.0005 of what the command line measures. Times are those of this machine."
)
