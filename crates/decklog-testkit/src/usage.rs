//! The token counts that [`ModelServer`](crate::ModelServer) puts into its replies.
//!
//! They are fixed and pairwise distinct, so that a wrong sum shows which part went wrong. Every
//! reply to a main-loop request reports the same counts, so after `n` such replies a correct total
//! is `n` times the constant. Providers report them differently:
//!
//! | protocol | input | cached | output | reasoning |
//! | --- | --- | --- | --- | --- |
//! | Anthropic Messages | `input_tokens` = [`UNCACHED_INPUT`], cached parts *beside* it | `cache_read_input_tokens`, `cache_creation_input_tokens` | `output_tokens` = [`OUTPUT`] | inside the output, not told |
//! | OpenAI Responses, Chat Completions | [`UNCACHED_INPUT`] + [`CACHE_READ`] | part of the input | [`OUTPUT`] | part of the output |
//! | Gemini | [`UNCACHED_INPUT`] + [`CACHE_READ`] | part of the input | [`OUTPUT`] − [`REASONING`] | beside the output |

/// Prompt tokens that came from no cache.
pub const UNCACHED_INPUT: u64 = 1200;
/// Prompt tokens read from the provider's cache.
pub const CACHE_READ: u64 = 800;
/// Prompt tokens newly written to the cache. Only Anthropic's protocol has them.
pub const CACHE_WRITE: u64 = 50;
/// Tokens the model made, reasoning included.
pub const OUTPUT: u64 = 34;
/// The part of [`OUTPUT`] that was reasoning.
pub const REASONING: u64 = 10;
/// Prompt tokens of a reply to a side request (a title, a probe): never of a main-loop reply.
pub const SIDE_INPUT: u64 = 7;
/// Output tokens of a reply to a side request.
pub const SIDE_OUTPUT: u64 = 3;

/// The counts of one reply, before a protocol gives them its own shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) uncached: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    pub(crate) output: u64,
    pub(crate) reasoning: u64,
}

impl Counts {
    pub(crate) const MAIN: Counts = Counts {
        uncached: UNCACHED_INPUT,
        cache_read: CACHE_READ,
        cache_write: CACHE_WRITE,
        output: OUTPUT,
        reasoning: REASONING,
    };
    pub(crate) const SIDE: Counts =
        Counts { uncached: SIDE_INPUT, cache_read: 0, cache_write: 0, output: SIDE_OUTPUT, reasoning: 0 };

    /// All prompt tokens, as the protocols count them that include cached ones.
    pub(crate) fn prompt(self) -> u64 {
        self.uncached + self.cache_read
    }
}
