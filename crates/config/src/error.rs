//! Why a single value is not accepted; a [`Problem`](crate::Problem) adds the place.

/// Why a text is not a duration, a size or a part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error("`{0}` is not a duration such as \"15m\", \"4d\", \"1h30m\" or \"500ms\" (ms, s, m, h, d)")]
    Duration(String),
    /// A number alone: of what?
    #[error("`{0}` has no unit; write \"{0}s\" for seconds, \"{0}m\" for minutes, \"{0}h\" for hours")]
    NoUnit(String),
    /// Longer than ten years.
    #[error("`{0}` is too long (at most 3650d)")]
    TooLong(String),
    /// Not a size.
    #[error("`{0}` is not a size such as \"256MiB\", \"8MB\" or \"1GiB\" (B, kB, KiB, MB, MiB, GB, GiB, TB, TiB)")]
    Size(String),
    /// Not a part in percent.
    #[error("`{0}` is not a part such as \"20%\" (0% to 100%)")]
    Percent(String),
}

/// Why a text is not JSON, even read with the habits of .NET.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JsonError {
    /// What was expected and what was found.
    pub message: String,
    /// Where, in bytes from the beginning.
    pub offset: usize,
}

/// Why a secret could not be read from where the configuration says it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read `{path}`: {why}")]
    File {
        /// The file.
        path: String,
        /// The operating system's word.
        why: String,
    },
    /// The environment has no such variable.
    #[error("the environment variable `{0}` is not set")]
    Environment(String),
    /// The command could not be started or ended badly.
    #[error("the command failed: {0}")]
    Command(String),
    /// The command took too long.
    #[error("the command gave no answer within {0} seconds")]
    CommandSlow(u64),
    /// What was read is no UTF-8 text.
    #[error("what was read is not UTF-8 text")]
    Encoding,
    /// Nothing was there.
    #[error("the secret is empty")]
    Empty,
}
