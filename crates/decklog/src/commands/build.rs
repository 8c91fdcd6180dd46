//! `build`: an image of the configuration, made when what it is made of has changed.

use decklog_sandbox::image;
use decklog_text::visible;

use crate::boxing;
use crate::context::Context;
use crate::error::CliResult;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
An image with a dockerfile is known by its content: the Dockerfile, the build arguments and the files of its context (what a
.dockerignore leaves out apart). `run`, `loop` and `mcp` build on need, so this is for doing it beforehand.

Examples:
  decklog build
  decklog build --image coding --no-cache

On stdout: what podman calls the image. On stderr: the build.")]
pub(crate) struct Args {
    /// The image's name in the configuration (default: the default image, or the only one)
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Build it anew, whatever is there already
    #[arg(long)]
    no_cache: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> CliResult {
    let config = context.config()?;
    let image = config.image(args.image.as_deref())?;
    let mut begin = |tag: &str| context.say(format!("building {}", visible(tag)));
    let mut line = |line: &str| context.say(visible(line));
    let built = image::ensure(&boxing::podman(context), image, args.no_cache, &mut begin, &mut line)?;
    if !built.fresh {
        context.say(format!("image {} is there as it should be", image.name));
    }
    context.print(format!("{}\n", visible(&built.tag)))?;
    Ok(0)
}
